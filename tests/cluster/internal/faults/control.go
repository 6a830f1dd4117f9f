package faults

import (
	"encoding/json"
	"io"
	"net/http"
)

// Register adds the control endpoints: /faults (GET, POST a rule, DELETE all) and /counts (GET, DELETE).
func (p *Proxy) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { answer(w, p.Rules()) })
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err == nil {
			err = p.Add(text)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, p.Rules())
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		if err := p.Clear(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, p.Rules())
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) { answer(w, p.Counts.rows()) })
	mux.HandleFunc("DELETE /counts", func(w http.ResponseWriter, _ *http.Request) {
		p.Counts.reset()
		answer(w, p.Counts.rows())
	})
}

// Add puts a rule in force, for the watches that are open too.
func (p *Proxy) Add(text []byte) error {
	rule, err := parse(text)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, rule)
	if rule.Action == Down {
		rule.Hits++
		p.Gate.Shut()
		return nil
	}
	if rule.Action == Status { // an open watch has had its status
		return nil
	}
	for s := range p.streams {
		if rule.take(s.request) {
			s.set(rule.Action)
		}
	}
	return nil
}

// Clear takes all rules away; what they have silenced stays silent.
func (p *Proxy) Clear() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
	for s := range p.streams {
		s.set("")
	}
	if p.Gate == nil {
		return nil
	}
	return p.Gate.Open()
}

// Rules are those in force, with their hits.
func (p *Proxy) Rules() []Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	rules := []Rule{}
	for _, rule := range p.rules {
		rules = append(rules, *rule)
	}
	return rules
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
