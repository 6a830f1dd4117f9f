package images

import "strings"

// Expand replaces `$(NAME)` by its value as Kubernetes does: an unknown name stays as it is, and `$$` is a dollar sign.
func Expand(text string, value map[string]string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		text = after
		if strings.HasPrefix(text, "$") {
			out.WriteByte('$')
			text = text[1:]
			continue
		}
		name, rest, closed := strings.Cut(text, ")")
		known, ok := value[strings.TrimPrefix(name, "(")]
		if !closed || !strings.HasPrefix(name, "(") || !ok {
			out.WriteByte('$')
			continue
		}
		out.WriteString(known)
		text = rest
	}
}
