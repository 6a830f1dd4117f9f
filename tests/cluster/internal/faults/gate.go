package faults

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// Gate is where the proxy listens. Shut, it resets what is connected and accepts nothing more.
type Gate struct {
	server *http.Server
	secure *tls.Config
	mu     sync.Mutex
	shut   bool
	listen func() (net.Listener, error)
	inside net.Listener
	open   map[net.Conn]struct{}
}

// NewGate serves on what listen makes, anew after each time that it was shut, and on outside, which it cannot make anew.
func NewGate(handler http.Handler, secure *tls.Config, listen func() (net.Listener, error), outside net.Listener) (*Gate, error) {
	secure = secure.Clone()
	secure.NextProtos = []string{"http/1.1"} // one connection per request in flight: what is cut is one request
	g := &Gate{secure: secure, listen: listen, open: map[net.Conn]struct{}{}}
	g.server = &http.Server{Handler: handler, ConnState: g.track, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	if err := g.Open(); err != nil {
		return nil, err
	}
	if outside != nil {
		go func() { _ = g.server.Serve(tls.NewListener(guarded{outside, g}, secure)) }()
	}
	return g, nil
}

func (g *Gate) track(connection net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch state {
	case http.StateNew:
		g.open[connection] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(g.open, connection)
	}
}

func (g *Gate) Open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = false
	if g.inside != nil {
		return nil
	}
	inside, err := g.listen()
	if err != nil {
		return err
	}
	g.inside = inside
	go func() { _ = g.server.Serve(tls.NewListener(inside, g.secure)) }()
	return nil
}

func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	if g.inside != nil {
		_ = g.inside.Close()
		g.inside = nil
	}
	for connection := range g.open {
		abort(connection)
	}
}

func (g *Gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// guarded resets what arrives while the gate is shut.
type guarded struct {
	net.Listener
	gate *Gate
}

func (l guarded) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil || !l.gate.isShut() {
			return connection, err
		}
		abort(connection)
	}
}
