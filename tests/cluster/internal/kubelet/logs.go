package kubelet

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

func (k *Kubelet) serveLogs(rw http.ResponseWriter, r *http.Request) {
	w, c := k.container(r)
	if c == nil {
		http.Error(rw, "no such pod or container", http.StatusNotFound)
		return
	}
	if c.log == nil {
		http.Error(rw, "container is waiting to start", http.StatusBadRequest)
		return
	}
	file, err := os.Open(c.log.path)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	defer file.Close()
	reader, query := newLogReader(file, r.URL.Query()), r.URL.Query()
	grown := c.log.grown()
	lines := reader.lines()
	if last, err := strconv.Atoi(query.Get("tailLines")); err == nil && last >= 0 && last < len(lines) {
		lines = lines[len(lines)-last:]
	}
	rw.Header().Set("Content-Type", "text/plain")
	for {
		if _, err := io.WriteString(rw, strings.Join(lines, "")); err != nil || query.Get("follow") != "true" {
			return
		}
		_ = http.NewResponseController(rw).Flush()
		select {
		case <-grown:
		case <-r.Context().Done():
			return
		case <-w.ended:
			return
		}
		grown = c.log.grown()
		lines = reader.lines()
	}
}

type logReader struct {
	from       *bufio.Reader
	since      time.Time
	timestamps bool
}

func newLogReader(file io.Reader, query url.Values) *logReader {
	reader := &logReader{from: bufio.NewReader(file), timestamps: query.Get("timestamps") == "true"}
	reader.since, _ = time.Parse(time.RFC3339, query.Get("sinceTime"))
	if seconds, err := strconv.Atoi(query.Get("sinceSeconds")); err == nil {
		reader.since = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	return reader
}

// lines reads on to the end of what has been written.
func (r *logReader) lines() []string {
	var out []string
	for {
		text, err := r.from.ReadString('\n')
		if err != nil {
			return out
		}
		stamp, rest, _ := strings.Cut(text, " ")
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil && at.Before(r.since) {
			continue
		}
		_, line, _ := strings.Cut(rest, " ")
		if r.timestamps {
			line = stamp + " " + line
		}
		out = append(out, line)
	}
}
