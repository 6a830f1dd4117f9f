// Package images stands in for a registry: a table from image names to programs of this machine.
//
// A row's files are written with ${NAME}; the names are given values when the cluster starts, so that a table holds no path of any machine.
package images

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Image is how to run an image name without the image.
type Image struct {
	Match      string            `json:"match"`            // path.Match pattern on the name without its tag, or on the last part of that
	Entrypoint []string          `json:"entrypoint"`       // runs when the pod names no command
	Command    []string          `json:"command"`          // its arguments when the pod names none
	Mounts     map[string]string `json:"mounts,omitempty"` // path in the pod -> file or folder of this machine
	Env        map[string]string `json:"env,omitempty"`
	User       int64             `json:"user,omitempty"` // the user that the image names
	unset      []string          // names that the row needs and that have no value
}

// Table answers for image names; the first row that matches wins.
type Table struct{ rows []Image }

// Parse reads a table. A row whose names have no value stays in it, and says so when a pod wants it.
func Parse(text []byte, value func(name string) string) (Table, error) {
	var rows []Image
	if err := json.Unmarshal(text, &rows); err != nil {
		return Table{}, fmt.Errorf("image table: %w", err)
	}
	for i := range rows {
		if _, err := path.Match(rows[i].Match, ""); err != nil || rows[i].Match == "" {
			return Table{}, fmt.Errorf("image table: row %d: match %q is no pattern", i+1, rows[i].Match)
		}
		rows[i].fill(value)
	}
	return Table{rows}, nil
}

func (i *Image) fill(value func(string) string) {
	for _, place := range slices.Sorted(maps.Keys(i.Mounts)) {
		i.Mounts[place] = os.Expand(i.Mounts[place], func(name string) string {
			found := value(name)
			if found == "" && !slices.Contains(i.unset, name) {
				i.unset = append(i.unset, name)
			}
			return found
		})
	}
}

// Lookup finds the row for an image as a pod names it: `registry/repository:tag@digest`.
func (t Table) Lookup(name string) (Image, error) {
	repository := withoutTag(name)
	for _, row := range t.rows {
		if !matches(row.Match, repository) {
			continue
		}
		if len(row.unset) > 0 {
			return Image{}, fmt.Errorf("image %q: %s has no value: start the cluster with --path %s=FILE, or set it in the environment",
				name, strings.Join(row.unset, ", "), row.unset[0])
		}
		return row, nil
	}
	return Image{}, fmt.Errorf("image %q is not in the image table (--images)", name)
}

func matches(pattern, repository string) bool {
	// A pattern with slashes names the last parts of a repository, whatever registry it is pulled from.
	parts := strings.Split(repository, "/")
	depth := min(strings.Count(pattern, "/")+1, len(parts))
	ok, _ := path.Match(pattern, strings.Join(parts[len(parts)-depth:], "/"))
	return ok
}

func withoutTag(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		return name[:colon]
	}
	return name
}
