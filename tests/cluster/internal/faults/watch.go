package faults

import (
	"bufio"
	"context"
	"io"
	"sync"
	"time"
)

// reorderWait is how long an event waits for a later one to overtake it.
const reorderWait = 100 * time.Millisecond

const expired = `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",` +
	`"message":"too old resource version","reason":"Expired","code":410}}` + "\n"

// stream is an open watch; its action is the fault that has hit it last.
type stream struct {
	request Request
	changed chan struct{} // holds at most one wake-up
	mu      sync.Mutex
	action  string
}

func newStream(request Request, action string) *stream {
	s := &stream{request: request, changed: make(chan struct{}, 1)}
	s.set(action)
	return s
}

func (s *stream) set(action string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.action == Silence { // what it has kept back is lost, so it can never speak again
		return
	}
	s.action = action
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *stream) now() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.action
}

// pump passes a watch's lines on as its faults want them, until either side ends it; true means: reset the connection.
func (s *stream) pump(ctx context.Context, from io.Reader, to io.Writer) (reset bool) {
	lines := make(chan []byte)
	go func() {
		defer close(lines)
		for reader := bufio.NewReader(from); ; {
			line, err := reader.ReadBytes('\n')
			if err != nil {
				return
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	var held []byte
	var wait <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.changed:
			switch s.now() {
			case Expire:
				_, _ = io.WriteString(to, expired)
				return false
			case Cut, Lose:
				return true
			}
		case <-wait:
			_, _ = to.Write(held)
			held, wait = nil, nil
		case line, open := <-lines:
			action := s.now()
			if action == Silence {
				if !open {
					<-ctx.Done() // an end would be news
				}
				continue
			}
			if !open {
				_, _ = to.Write(held)
				return false
			}
			switch {
			case action == Reorder && held == nil:
				held, wait = line, time.After(reorderWait)
			case action == Duplicate:
				_, _ = to.Write(append(append(append([]byte{}, held...), line...), line...))
				held, wait = nil, nil
			default:
				_, _ = to.Write(append(append([]byte{}, line...), held...))
				held, wait = nil, nil
			}
		}
	}
}
