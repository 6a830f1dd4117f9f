// Package faults is the proxy in front of a test cluster's API server: it counts what is asked and goes wrong as it is told to.
// It knows the protocol's outside only: verbs, paths and lines of a watch.
package faults

import (
	"net/http"
	"strings"
)

// Request is what a rule can match and what is counted.
type Request struct {
	Verb        string `json:"verb"` // as in RBAC: get, list, watch, create, update, patch, delete, deletecollection
	Group       string `json:"group"`
	Resource    string `json:"resource"` // empty for what is no resource, such as /readyz and discovery
	Subresource string `json:"subresource"`
	UserAgent   string `json:"user_agent"`
	Path        string `json:"-"`
}

var verbs = map[string]string{
	http.MethodGet: "get", http.MethodHead: "get", http.MethodPost: "create", http.MethodPut: "update",
	http.MethodPatch: "patch", http.MethodDelete: "delete",
}

// Classify reads a request as the API server does.
func Classify(r *http.Request) Request {
	found := Request{Verb: verbs[r.Method], UserAgent: r.UserAgent(), Path: r.URL.Path}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		found.Group, parts = parts[1], parts[3:]
	default:
		return found
	}
	// /namespaces/NAME and its status are the Namespace itself; anything longer is inside it.
	inside := parts[0] == "namespaces" && len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize"
	if inside {
		parts = parts[2:]
	}
	found.Resource = parts[0]
	if len(parts) > 2 {
		found.Subresource = strings.Join(parts[2:], "/")
	}
	if len(parts) > 1 {
		return found
	}
	watch := r.URL.Query().Get("watch")
	switch {
	case found.Verb == "get" && (watch == "true" || watch == "1"):
		found.Verb = "watch"
	case found.Verb == "get":
		found.Verb = "list"
	case found.Verb == "delete":
		found.Verb = "deletecollection"
	}
	return found
}
