package faults

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// Proxy passes requests on to the API server, except where a rule says otherwise.
type Proxy struct {
	Counts   Counts
	Gate     *Gate // what listens for it; a test of the proxy alone may have none
	upstream *url.URL
	client   http.RoundTripper
	forward  *httputil.ReverseProxy

	mu      sync.Mutex
	rules   []*Rule
	streams map[*stream]struct{}
	lists   map[string]list // the last answer to each list, for rules that want an old one
}

type list struct {
	header http.Header
	body   []byte
}

func New(upstream *url.URL, client http.RoundTripper) *Proxy {
	p := &Proxy{upstream: upstream, client: client, streams: map[*stream]struct{}{}, lists: map[string]list{}}
	p.forward = &httputil.ReverseProxy{
		Transport:      client,
		FlushInterval:  -1,
		Rewrite:        p.rewrite,
		ModifyResponse: p.remember,
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, _ error) { reset(w) },
	}
	return p
}

func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(p.upstream)
	p.readable(r.Out)
}

// readable asks for what the proxy can read: JSON, not compressed.
func (p *Proxy) readable(r *http.Request) {
	r.Header.Del("Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept"), "protobuf") {
		r.Header.Set("Accept", "application/json")
	}
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := Classify(r)
	p.Counts.add(request)
	if request.Verb == "watch" {
		p.watch(w, r, request)
		return
	}
	rule := p.hit(request)
	switch rule.Action {
	case Status:
		refuse(w, rule)
	case Silence:
		hang(r)
	case Cut:
		reset(w)
	case Lose:
		p.forward.ServeHTTP(discard{http.Header{}}, r)
		reset(w)
	case Stale:
		p.stale(w, r)
	default:
		p.forward.ServeHTTP(w, r)
	}
}

// hit is the first rule that hits the request, or one without an action.
func (p *Proxy) hit(request Request) Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hitLocked(request)
}

func (p *Proxy) hitLocked(request Request) Rule {
	for _, rule := range p.rules {
		if rule.take(request) {
			return *rule
		}
	}
	return Rule{}
}

func (p *Proxy) watch(w http.ResponseWriter, r *http.Request, request Request) {
	p.mu.Lock()
	rule := p.hitLocked(request)
	s := newStream(request, rule.Action)
	p.streams[s] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.streams, s)
		p.mu.Unlock()
	}()
	switch rule.Action {
	case Status:
		refuse(w, rule)
		return
	case Cut, Lose:
		reset(w)
		return
	}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = p.upstream.Scheme, p.upstream.Host, ""
	p.readable(out)
	response, err := p.client.RoundTrip(out)
	if err != nil {
		reset(w)
		return
	}
	defer response.Body.Close()
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	to := flushing{w, http.NewResponseController(w)}
	_ = to.flush.Flush()
	if response.StatusCode != http.StatusOK {
		_, _ = io.Copy(to, response.Body)
		return
	}
	if s.pump(r.Context(), response.Body, to) {
		reset(w)
	}
}

// listKey is equal for equal lists, whatever version of them is asked for.
func listKey(u *url.URL) string {
	query := u.Query()
	query.Del("resourceVersion")
	query.Del("resourceVersionMatch")
	return u.Path + "?" + query.Encode()
}

func (p *Proxy) remember(response *http.Response) error {
	request := response.Request
	if response.StatusCode != http.StatusOK || Classify(request).Verb != "list" || Classify(request).Resource == "" {
		return nil
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	response.ContentLength = int64(len(body))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lists[listKey(request.URL)] = list{response.Header.Clone(), body}
	return nil
}

func (p *Proxy) stale(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	old, known := p.lists[listKey(r.URL)]
	p.mu.Unlock()
	if !known {
		p.forward.ServeHTTP(w, r)
		return
	}
	for name, values := range old.header {
		w.Header()[name] = values
	}
	_, _ = w.Write(old.body)
}

// refuse answers as the API server does.
func refuse(w http.ResponseWriter, rule Rule) {
	w.Header().Set("Content-Type", "application/json")
	if rule.RetryAfterS > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(rule.RetryAfterS))
	}
	w.WriteHeader(rule.Code)
	reason := map[int]string{
		http.StatusGone: "Expired", http.StatusTooManyRequests: "TooManyRequests", http.StatusConflict: "Conflict",
		http.StatusForbidden: "Forbidden", http.StatusNotFound: "NotFound", http.StatusInternalServerError: "InternalError",
		http.StatusServiceUnavailable: "ServiceUnavailable",
	}[rule.Code]
	_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"injected","reason":%q,"code":%d}`+"\n", reason, rule.Code)
}

// hang keeps the connection open, says nothing, and ends when the client does.
func hang(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client has gone
	<-r.Context().Done()
}

// reset ends the connection as a crashed peer does, even in the middle of an answer.
func reset(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the server closes the connection without an end of the answer
	}
	abort(connection)
}

func abort(connection net.Conn) {
	inner := connection
	if secure, ok := connection.(*tls.Conn); ok {
		inner = secure.NetConn()
	}
	if tcp, ok := inner.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = inner.Close()
}

type flushing struct {
	w     io.Writer
	flush *http.ResponseController
}

func (f flushing) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := f.w.Write(b)
	_ = f.flush.Flush()
	return n, err
}

// discard is the writer of an answer that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
