package kubelet

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tidegate.dev/tests/cluster/internal/images"
)

func (w *worker) environment(spec corev1.Container, image images.Image) (map[string]string, error) {
	pod := w.observedPod()
	env := map[string]string{
		"PATH": searchPath, "HOME": "/root", "HOSTNAME": hostname(pod),
		"KUBERNETES_SERVICE_HOST": w.kubelet.APIHost, "KUBERNETES_SERVICE_PORT": w.kubelet.APIPort,
	}
	maps.Copy(env, image.Env)
	for _, from := range spec.EnvFrom {
		found, err := w.envFrom(from)
		if err != nil {
			return nil, err
		}
		for key, value := range found {
			env[from.Prefix+key] = value
		}
	}
	for _, one := range spec.Env {
		value, present, err := w.envValue(one, env)
		if err != nil {
			return nil, fmt.Errorf("env %s: %w", one.Name, err)
		}
		if present {
			env[one.Name] = value
		}
	}
	return env, nil
}

func (w *worker) envFrom(from corev1.EnvFromSource) (map[string]string, error) {
	if ref := from.ConfigMapRef; ref != nil {
		return w.configMap(ref.Name, ref.Optional)
	}
	if ref := from.SecretRef; ref != nil {
		return w.secret(ref.Name, ref.Optional)
	}
	return nil, nil
}

func (w *worker) envValue(one corev1.EnvVar, env map[string]string) (value string, present bool, err error) {
	if one.ValueFrom == nil {
		return images.Expand(one.Value, env), true, nil
	}
	switch from := one.ValueFrom; {
	case from.FieldRef != nil:
		value, err = w.field(from.FieldRef.FieldPath)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		return keyOf(w.configMap, from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional)
	case from.SecretKeyRef != nil:
		return keyOf(w.secret, from.SecretKeyRef.Name, from.SecretKeyRef.Key, from.SecretKeyRef.Optional)
	case from.ResourceFieldRef != nil:
		return resourceField(w.containers, from.ResourceFieldRef)
	}
	return "", false, fmt.Errorf("valueFrom is of no kind that this kubelet knows")
}

func resourceField(containers map[string]*container, ref *corev1.ResourceFieldSelector) (string, bool, error) {
	kind, name, _ := strings.Cut(ref.Resource, ".")
	for _, c := range containers {
		if ref.ContainerName != "" && c.spec.Name != ref.ContainerName {
			continue
		}
		list := map[string]corev1.ResourceList{"limits": c.spec.Resources.Limits, "requests": c.spec.Resources.Requests}[kind]
		if quantity, ok := list[corev1.ResourceName(name)]; ok {
			return fmt.Sprint(quantity.Value()), true, nil
		}
	}
	return "1", true, nil
}

func keyOf(read func(string, *bool) (map[string]string, error), name, key string, optional *bool) (string, bool, error) {
	found, err := read(name, optional)
	if err != nil {
		return "", false, err
	}
	value, ok := found[key]
	if !ok && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("%s has no key %q", name, key)
	}
	return value, ok, nil
}

func (w *worker) secret(name string, optional *bool) (map[string]string, error) {
	object, err := w.kubelet.Client.CoreV1().Secrets(w.namespace).Get(w.ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, unlessOptional(err, optional)
	}
	found := map[string]string{}
	for key, value := range object.Data {
		found[key] = string(value)
	}
	return found, nil
}

func (w *worker) configMap(name string, optional *bool) (map[string]string, error) {
	object, err := w.kubelet.Client.CoreV1().ConfigMaps(w.namespace).Get(w.ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, unlessOptional(err, optional)
	}
	found := maps.Clone(object.Data)
	for key, value := range object.BinaryData {
		if found == nil {
			found = map[string]string{}
		}
		found[key] = string(value)
	}
	return found, nil
}

func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

// field is the Downward API.
func (w *worker) field(path string) (string, error) {
	pod := w.observedPod()
	node := w.kubelet.Node
	w.mu.Lock()
	ips := slices.Clone(w.ips)
	w.mu.Unlock()
	plain := map[string]string{
		"metadata.name": pod.Name, "metadata.namespace": pod.Namespace, "metadata.uid": string(pod.UID),
		"metadata.labels": lines(pod.Labels), "metadata.annotations": lines(pod.Annotations),
		"spec.nodeName": node.Name, "spec.serviceAccountName": pod.Spec.ServiceAccountName,
		"status.hostIP": node.IPv4.String(), "status.hostIPs": node.IPv4.String() + "," + node.IPv6.String(),
		"status.podIP": ips[0], "status.podIPs": strings.Join(ips, ","),
	}
	if value, ok := plain[path]; ok {
		return value, nil
	}
	for prefix, values := range map[string]map[string]string{"metadata.labels['": pod.Labels, "metadata.annotations['": pod.Annotations} {
		if key, ok := strings.CutPrefix(path, prefix); ok {
			return values[strings.TrimSuffix(key, "']")], nil
		}
	}
	return "", fmt.Errorf("fieldPath %q is not of the Downward API", path)
}

func lines(values map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		out = append(out, fmt.Sprintf("%s=%q", key, values[key]))
	}
	return strings.Join(out, "\n")
}

func pairs(env map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
