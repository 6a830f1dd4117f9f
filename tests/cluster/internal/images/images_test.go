package images

import (
	"strings"
	"testing"
)

const table = `[
  {"match": "tidegate/tidegate", "entrypoint": ["/opt/tidegate/bin"], "mounts": {"/opt/tidegate": "${ROOT}/bin"}},
  {"match": "echo-*", "entrypoint": ["/echo"], "mounts": {"/echo": "${ECHO}"}},
  {"match": "busybox", "entrypoint": ["/bin/sh"]}
]`

func parsed(t *testing.T) Table {
	t.Helper()
	rows, err := Parse([]byte(table), func(name string) string { return map[string]string{"ROOT": "/somewhere"}[name] })
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// A row answers for its image with any registry, tag and digest.
func TestLookupSeesPastRegistryTagAndDigest(t *testing.T) {
	rows := parsed(t)
	for name, entrypoint := range map[string]string{
		"busybox":                        "/bin/sh",
		"docker.io/library/busybox:1.36": "/bin/sh",
		"registry.local:5000/tidegate/tidegate:dev@sha256:0": "/opt/tidegate/bin",
	} {
		row, err := rows.Lookup(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if row.Entrypoint[0] != entrypoint {
			t.Errorf("%s: expected %s, got %s", name, entrypoint, row.Entrypoint[0])
		}
	}
}

// A name's value is put into the files of its row.
func TestMountsAreFilled(t *testing.T) {
	row, _ := parsed(t).Lookup("tidegate/tidegate:1")

	if row.Mounts["/opt/tidegate"] != "/somewhere/bin" {
		t.Errorf("got %q", row.Mounts["/opt/tidegate"])
	}
}

// A pod that wants an image whose files were not named is told which name to give.
func TestUnsetNameIsAskedFor(t *testing.T) {
	_, err := parsed(t).Lookup("echo-basic")

	if err == nil || !strings.Contains(err.Error(), "--path ECHO=FILE") {
		t.Errorf("got %v", err)
	}
}

// An image of another repository with the same last part is not taken for ours.
func TestPatternWithSlashNamesTheRepository(t *testing.T) {
	if _, err := parsed(t).Lookup("other/tidegate:1"); err == nil {
		t.Error("other/tidegate was taken for tidegate/tidegate")
	}
}

// A table that is no table is refused with the row.
func TestBrokenTableIsRefused(t *testing.T) {
	for _, text := range []string{`{`, `[{"match": ""}]`, `[{"match": "["}]`} {
		if _, err := Parse([]byte(text), func(string) string { return "" }); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}

// Arguments are expanded as Kubernetes does it.
func TestExpand(t *testing.T) {
	value := map[string]string{"A": "1", "B": "$(A)"}
	for text, expected := range map[string]string{
		"plain": "plain", "$(A)-$(A)": "1-1", "$(B)": "$(A)", "$(UNKNOWN)": "$(UNKNOWN)", "$$(A)": "$(A)", "$A $": "$A $", "$(A": "$(A",
	} {
		if got := Expand(text, value); got != expected {
			t.Errorf("%s: expected %s, got %s", text, expected, got)
		}
	}
}
