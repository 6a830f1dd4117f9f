package kubelet

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// logFile holds a container's output, one "TIME STREAM LINE" a line.
type logFile struct {
	path string
	mu   sync.Mutex
	file *os.File
	more chan struct{} // closed at each write, then replaced: wakes who follows
}

func openLog(path string) (*logFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	return &logFile{path: path, file: file, more: make(chan struct{})}, err
}

func (l *logFile) stream(name string) io.Writer { return &logStream{log: l, name: name} }

// grown is closed when something has been written since the call.
func (l *logFile) grown() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.more
}

type logStream struct {
	log  *logFile
	name string
	part []byte // of a line whose end has not come
}

func (s *logStream) Write(b []byte) (int, error) {
	s.part = append(s.part, b...)
	end := bytes.LastIndexByte(s.part, '\n')
	if end < 0 {
		return len(b), nil
	}
	var out bytes.Buffer
	at := time.Now().UTC().Format(time.RFC3339Nano)
	for line := range bytes.SplitSeq(s.part[:end], []byte{'\n'}) {
		fmt.Fprintf(&out, "%s %s %s\n", at, s.name, line)
	}
	s.part = bytes.Clone(s.part[end+1:])
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	_, err := s.log.file.Write(out.Bytes())
	close(s.log.more)
	s.log.more = make(chan struct{})
	return len(b), err
}
