package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"

	"tidegate.dev/tests/cluster/internal/faults"
	"tidegate.dev/tests/cluster/internal/pki"
	"tidegate.dev/tests/cluster/internal/plan"
)

var apiURL = &url.URL{Scheme: "https", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(plan.APIPort))}

// serveAPI passes the API server to who may open the socket, as a user who may do everything.
func serveAPI(dir folder, token string) error {
	transport, err := apiTransport(dir.keys())
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(apiURL)
			r.Out.Header.Set("Authorization", "Bearer "+token)
		},
	}
	return serveUnix(dir.api(), proxy)
}

func apiTransport(keys pki.Files) (*http.Transport, error) {
	pool, err := keys.Pool()
	if err != nil {
		return nil, err
	}
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 100, DisableCompression: true}, nil
}

// startFaultProxy listens beside the API server, inside the cluster and outside.
func startFaultProxy(keys pki.Files, outside net.Listener) (*faults.Proxy, error) {
	transport, err := apiTransport(keys)
	if err != nil {
		return nil, err
	}
	certificate, err := keys.Pair("apiserver")
	if err != nil {
		return nil, err
	}
	proxy := faults.New(apiURL, transport)
	listen := func() (net.Listener, error) {
		return net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(plan.ProxyPort)))
	}
	proxy.Gate, err = faults.NewGate(proxy, &tls.Config{Certificates: []tls.Certificate{certificate}}, listen, outside)
	return proxy, err
}

// serveControl is what the commands fault, counts and component speak to.
func serveControl(dir folder, components *children) error {
	mux := http.NewServeMux()
	components.proxy.Register(mux)
	mux.HandleFunc("POST /components/{name}/{action}", func(w http.ResponseWriter, r *http.Request) {
		if err := components.do(r.PathValue("name"), r.PathValue("action")); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	return serveUnix(dir.control(), mux)
}

func serveUnix(path string, handler http.Handler) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, handler) }()
	return nil
}

// forward passes connections on, bytes as they come.
func forward(listener net.Listener, to string) {
	for {
		from, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			onward, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer onward.Close()
			go func() {
				_, _ = io.Copy(onward, from)
				_ = onward.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(from, onward)
		}()
	}
}
