package faults

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Rule is one fault: which requests it hits, how often, and what happens to them.
type Rule struct {
	Verb        string `json:"verb,omitempty"`       // regular expression on the whole verb; empty: any
	Path        string `json:"path,omitempty"`       // regular expression, found anywhere in the path
	UserAgent   string `json:"user_agent,omitempty"` // as path
	After       int    `json:"after,omitempty"`      // so many matches pass first
	Times       int    `json:"times,omitempty"`      // hits after which the rule is spent; 0: never
	Action      string `json:"action"`
	Code        int    `json:"code,omitempty"`          // of action status
	RetryAfterS int    `json:"retry_after_s,omitempty"` // of action status: the header Retry-After

	Hits int `json:"hits"` // how often it has hit

	passed          int
	verb, path, who *regexp.Regexp
}

const (
	Status    = "status"    // answer with code, without asking the API server
	Expire    = "expire"    // a watch, open ones too, ends with an ERROR event of code 410
	Silence   = "silence"   // no answer ever; a watch, open ones too, stays open and says nothing more
	Duplicate = "duplicate" // each event of a watch, open ones too, comes twice
	Reorder   = "reorder"   // events of a watch, open ones too, swap places two by two
	Stale     = "stale"     // a list is answered as it last was before the rule came
	Cut       = "cut"       // the connection is reset before the API server is asked; an open watch at once
	Lose      = "lose"      // the API server does it, and the connection is reset instead of its answer
	Down      = "down"      // nothing listens: every connection is reset and none is accepted
)

// hits lists the verbs that an action makes sense for; none means all.
var hits = map[string][]string{
	Status: nil, Silence: nil, Cut: nil, Lose: nil, Down: nil,
	Expire: {"watch"}, Duplicate: {"watch"}, Reorder: {"watch"}, Stale: {"list"},
}

// parse reads a rule and refuses what would silently never hit.
func parse(text []byte) (*Rule, error) {
	rule := &Rule{}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(rule); err != nil {
		return nil, fmt.Errorf("fault: %w", err)
	}
	if _, known := hits[rule.Action]; !known {
		return nil, fmt.Errorf("fault: action %q is none of %s", rule.Action, strings.Join(slices.Sorted(maps.Keys(hits)), ", "))
	}
	if (rule.Action == Status) != (rule.Code != 0) {
		return nil, fmt.Errorf("fault: code belongs to action %q, and only to it", Status)
	}
	rule.Hits = 0
	for _, field := range []struct {
		into **regexp.Regexp
		text string
	}{{&rule.verb, "^(?:" + orAny(rule.Verb) + ")$"}, {&rule.path, rule.Path}, {&rule.who, rule.UserAgent}} {
		compiled, err := regexp.Compile(field.text)
		if err != nil {
			return nil, fmt.Errorf("fault: %w", err)
		}
		*field.into = compiled
	}
	return rule, nil
}

func orAny(pattern string) string {
	if pattern == "" {
		return ".*"
	}
	return pattern
}

// take says whether the rule hits this request, and counts it.
func (r *Rule) take(request Request) bool {
	if only := hits[r.Action]; only != nil && !slices.Contains(only, request.Verb) {
		return false
	}
	if !r.verb.MatchString(request.Verb) || !r.path.MatchString(request.Path) || !r.who.MatchString(request.UserAgent) {
		return false
	}
	if r.Times > 0 && r.Hits >= r.Times {
		return false
	}
	if r.passed < r.After {
		r.passed++
		return false
	}
	r.Hits++
	return true
}
