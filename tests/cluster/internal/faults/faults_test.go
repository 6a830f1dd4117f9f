package faults

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func classified(method, target string) Request {
	return Classify(httptest.NewRequest(method, target, nil))
}

// A request is read as the API server reads it: verb, group, resource and subresource.
func TestClassify(t *testing.T) {
	for target, expected := range map[string]Request{
		"GET /api/v1/namespaces/a/configmaps":                                       {Verb: "list", Resource: "configmaps"},
		"GET /api/v1/configmaps?watch=true":                                         {Verb: "watch", Resource: "configmaps"},
		"GET /api/v1/namespaces/a":                                                  {Verb: "get", Resource: "namespaces"},
		"PUT /api/v1/namespaces/a/status":                                           {Verb: "update", Resource: "namespaces", Subresource: "status"},
		"POST /api/v1/namespaces/a/pods/p/binding":                                  {Verb: "create", Resource: "pods", Subresource: "binding"},
		"PATCH /apis/gateway.networking.k8s.io/v1/namespaces/a/httproutes/r/status": {Verb: "patch", Group: "gateway.networking.k8s.io", Resource: "httproutes", Subresource: "status"},
		"DELETE /apis/apps/v1/namespaces/a/deployments":                             {Verb: "deletecollection", Group: "apps", Resource: "deployments"},
		"DELETE /apis/apps/v1/namespaces/a/deployments/d":                           {Verb: "delete", Group: "apps", Resource: "deployments"},
		"GET /readyz": {Verb: "get"}, "GET /apis/apps/v1": {Verb: "get"}, "GET /": {Verb: "get"},
	} {
		method, path, _ := strings.Cut(target, " ")
		got := classified(method, path)
		got.Path = ""
		if got != expected {
			t.Errorf("%s: expected %+v, got %+v", target, expected, got)
		}
	}
}

// A rule lets so many requests pass, then hits so many.
func TestRuleCounts(t *testing.T) {
	rule, err := parse([]byte(`{"action": "cut", "verb": "list|get", "path": "configmaps", "after": 1, "times": 2}`))
	if err != nil {
		t.Fatal(err)
	}
	var taken []bool
	for range 4 {
		taken = append(taken, rule.take(classified(http.MethodGet, "/api/v1/configmaps")))
	}

	if taken[0] || !taken[1] || !taken[2] || taken[3] || rule.Hits != 2 {
		t.Errorf("got %v and %d hits", taken, rule.Hits)
	}
	if rule.take(classified(http.MethodGet, "/api/v1/secrets")) {
		t.Error("a request for another path was hit")
	}
}

// A rule that could never hit, or says something that no rule knows, is refused.
func TestWrongRulesAreRefused(t *testing.T) {
	for _, text := range []string{
		`{`, `{"action": "explode"}`, `{"action": "status"}`, `{"action": "cut", "code": 500}`, `{"action": "cut", "verb": "("}`, `{"action": "cut", "often": 1}`,
	} {
		if _, err := parse([]byte(text)); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}

// pumped is what comes out of a watch with an action.
func pumped(t *testing.T, action, lines string) string {
	t.Helper()
	var out strings.Builder
	newStream(Request{Verb: "watch"}, action).pump(t.Context(), strings.NewReader(lines), &out)
	return out.String()
}

// What each action makes of a watch's lines.
func TestPump(t *testing.T) {
	for action, expected := range map[string]string{
		"": "1\n2\n3\n", Duplicate: "1\n1\n2\n2\n3\n3\n", Reorder: "2\n1\n3\n",
	} {
		if got := pumped(t, action, "1\n2\n3\n"); got != expected {
			t.Errorf("%s: expected %q, got %q", action, expected, got)
		}
	}
}

// A watch that has been silenced cannot be made to speak again, for what it kept back is lost.
func TestSilenceStays(t *testing.T) {
	s := newStream(Request{}, Silence)
	s.set("")

	if s.now() != Silence {
		t.Errorf("got %q", s.now())
	}
}
