package faults

import (
	"cmp"
	"slices"
	"sync"
)

// Counts is how often each kind of request has arrived since the last reset, those that a fault then hit too.
type Counts struct {
	mu sync.Mutex
	by map[Request]int
}

// Count is one row of it.
type Count struct {
	Request
	Count int `json:"count"`
}

func (c *Counts) add(request Request) {
	request.Path = ""
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[Request]int{}
	}
	c.by[request]++
}

func (c *Counts) rows() []Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	rows := make([]Count, 0, len(c.by))
	for request, count := range c.by {
		rows = append(rows, Count{request, count})
	}
	slices.SortFunc(rows, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Subresource, b.Subresource),
			cmp.Compare(a.Verb, b.Verb), cmp.Compare(a.UserAgent, b.UserAgent))
	})
	return rows
}

func (c *Counts) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by = nil
}
