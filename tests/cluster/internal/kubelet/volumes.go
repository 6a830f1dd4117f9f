package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"
)

// mountVolumes fills every volume, waiting for Secrets and ConfigMaps that come later; false: the pod has to end first.
func (w *worker) mountVolumes() bool {
	for _, volume := range w.observedPod().Spec.Volumes {
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
			folder, err := w.fill(volume)
			if err == nil {
				w.volumes[volume.Name] = folder
				break
			}
			w.say(fmt.Sprintf("volume %s: %v", volume.Name, err))
			select {
			case <-w.ctx.Done():
				return false
			case <-w.refresh:
			case <-time.After(wait):
			}
		}
	}
	w.say("")
	go w.keepVolumes()
	return true
}

// keepVolumes writes anew what comes from objects that have changed.
func (w *worker) keepVolumes() {
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-w.refresh:
		}
		for _, volume := range w.observedPod().Spec.Volumes {
			if volume.Secret == nil && volume.ConfigMap == nil && volume.Projected == nil {
				continue
			}
			if _, err := w.fill(volume); err != nil && w.ctx.Err() == nil {
				log.Printf("pod %s/%s: volume %s: %v", w.namespace, w.name, volume.Name, err)
			}
		}
	}
}

// fill writes a volume's files and says where they are.
func (w *worker) fill(volume corev1.Volume) (string, error) {
	if volume.HostPath != nil {
		return volume.HostPath.Path, makeHostPath(volume.HostPath)
	}
	folder := filepath.Join(w.base, "volumes", volume.Name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	if volume.EmptyDir != nil {
		return folder, os.Chmod(folder, 0o777)
	}
	sources, mode, err := projections(volume)
	if err != nil {
		return "", err
	}
	files := map[string]volumeutil.FileProjection{}
	for _, source := range sources {
		if err := w.project(source, mode, folder, files); err != nil {
			return "", err
		}
	}
	// The writer of the real kubelet: files change all at once, by one rename of ..data, which is what programs watch for.
	writer, err := volumeutil.NewAtomicWriter(folder, "")
	if err != nil {
		return "", err
	}
	return folder, writer.Write(files, func(inside string) error { return w.giveToGroup(filepath.Join(folder, inside)) })
}

func makeHostPath(source *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	switch kind {
	case corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate:
		if _, err := os.Stat(source.Path); err == nil {
			return nil
		}
		return os.MkdirAll(source.Path, 0o755)
	case corev1.HostPathFileOrCreate:
		file, err := os.OpenFile(source.Path, os.O_CREATE, 0o644)
		return errors.Join(err, file.Close())
	}
	_, err := os.Stat(source.Path)
	return err
}

// projections reads each kind of volume as the projected volume that it is a short form of.
func projections(volume corev1.Volume) ([]corev1.VolumeProjection, *int32, error) {
	switch {
	case volume.Secret != nil:
		v := volume.Secret
		reference := corev1.LocalObjectReference{Name: v.SecretName}
		return []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: reference, Items: v.Items, Optional: v.Optional}}}, v.DefaultMode, nil
	case volume.ConfigMap != nil:
		v := volume.ConfigMap
		source := &corev1.ConfigMapProjection{LocalObjectReference: v.LocalObjectReference, Items: v.Items, Optional: v.Optional}
		return []corev1.VolumeProjection{{ConfigMap: source}}, v.DefaultMode, nil
	case volume.DownwardAPI != nil:
		v := volume.DownwardAPI
		return []corev1.VolumeProjection{{DownwardAPI: &corev1.DownwardAPIProjection{Items: v.Items}}}, v.DefaultMode, nil
	case volume.Projected != nil:
		return volume.Projected.Sources, volume.Projected.DefaultMode, nil
	}
	return nil, nil, errors.New("this kubelet knows Secret, ConfigMap, DownwardAPI, Projected, EmptyDir and HostPath volumes only")
}

func (w *worker) project(source corev1.VolumeProjection, mode *int32, folder string, files map[string]volumeutil.FileProjection) error {
	put := func(path, content string, own *int32) {
		files[path] = volumeutil.FileProjection{Data: []byte(content), Mode: w.fileMode(mode, own)}
	}
	switch {
	case source.Secret != nil:
		found, err := w.secret(source.Secret.Name, source.Secret.Optional)
		return errors.Join(err, putItems(found, source.Secret.Items, source.Secret.Optional, put))
	case source.ConfigMap != nil:
		found, err := w.configMap(source.ConfigMap.Name, source.ConfigMap.Optional)
		return errors.Join(err, putItems(found, source.ConfigMap.Items, source.ConfigMap.Optional, put))
	case source.DownwardAPI != nil:
		for _, item := range source.DownwardAPI.Items {
			if item.FieldRef == nil {
				continue
			}
			value, err := w.field(item.FieldRef.FieldPath)
			if err != nil {
				return err
			}
			put(item.Path, value, item.Mode)
		}
		return nil
	case source.ServiceAccountToken != nil:
		token, err := w.token(source.ServiceAccountToken, folder)
		put(source.ServiceAccountToken.Path, token, nil)
		return err
	}
	return errors.New("this kubelet projects Secrets, ConfigMaps, the Downward API and service account tokens only")
}

func putItems(found map[string]string, items []corev1.KeyToPath, optional *bool, put func(path, content string, own *int32)) error {
	if len(items) == 0 {
		for key, value := range found {
			put(key, value, nil)
		}
		return nil
	}
	for _, item := range items {
		value, ok := found[item.Key]
		if !ok && optional != nil && *optional {
			continue
		}
		if !ok {
			return fmt.Errorf("no key %q", item.Key)
		}
		put(item.Path, value, item.Mode)
	}
	return nil
}

// token asks for one once: it lives an hour or more, longer than a test's pod.
func (w *worker) token(source *corev1.ServiceAccountTokenProjection, folder string) (string, error) {
	if present, err := os.ReadFile(filepath.Join(folder, source.Path)); err == nil {
		return string(present), nil
	}
	pod := w.observedPod()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	answer, err := w.kubelet.Client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return answer.Status.Token, nil
}

func (w *worker) fileMode(mode, own *int32) int32 {
	found := int32(0o644)
	if mode != nil {
		found = *mode
	}
	if own != nil {
		found = *own
	}
	if w.fsGroup() != nil {
		found |= 0o440
	}
	return found
}

func (w *worker) fsGroup() *int64 {
	if context := w.observedPod().Spec.SecurityContext; context != nil {
		return context.FSGroup
	}
	return nil
}

func (w *worker) giveToGroup(folder string) error {
	group := w.fsGroup()
	if group == nil {
		return nil
	}
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, -1, int(*group)))
	})
}
