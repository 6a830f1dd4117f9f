// Package manifests applies files of objects by server-side apply.
package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

const crdKind = "CustomResourceDefinition"

var crds = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Apply applies what the paths hold (files, folders, "-" for stdin) in their order and returns how many objects;
// objects of a kind come after its CustomResourceDefinition is Established, wherever in the files it stands.
func Apply(ctx context.Context, config *rest.Config, paths []string) (int, error) {
	objects, err := read(paths)
	if err != nil {
		return 0, err
	}
	a, err := newApplier(config)
	if err != nil {
		return 0, err
	}
	slices.SortStableFunc(objects, func(x, y *unstructured.Unstructured) int { return rank(x) - rank(y) })
	var pending []string
	for _, object := range objects {
		if object.GetKind() != crdKind && len(pending) > 0 {
			if err := a.waitEstablished(ctx, pending); err != nil {
				return 0, err
			}
			pending = nil
		}
		if err := a.apply(ctx, object); err != nil {
			return 0, fmt.Errorf("%s %s/%s: %w", object.GetKind(), object.GetNamespace(), object.GetName(), err)
		}
		if object.GetKind() == crdKind {
			pending = append(pending, object.GetName())
		}
	}
	return len(objects), a.waitEstablished(ctx, pending)
}

func rank(object *unstructured.Unstructured) int {
	switch object.GetKind() {
	case crdKind:
		return 0
	case "Namespace":
		return 1
	}
	return 2
}

type applier struct {
	objects dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func newApplier(config *rest.Config) (*applier, error) {
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	server, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &applier{objects, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(server))}, nil
}

func (a *applier) apply(ctx context.Context, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	var resource dynamic.ResourceInterface = a.objects.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if object.GetNamespace() == "" {
			object.SetNamespace(metav1.NamespaceDefault)
		}
		resource = a.objects.Resource(mapping.Resource).Namespace(object.GetNamespace())
	}
	_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: "testcluster", Force: true})
	return err
}

func (a *applier) waitEstablished(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, name := range names {
		for {
			object, err := a.objects.Resource(crds).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("%s %s: %w", crdKind, name, err)
			}
			if established(object) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if len(names) > 0 {
		a.mapper.Reset()
	}
	return nil
}

func established(object *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, ok := c.(map[string]any)
		return ok && condition["type"] == "Established" && condition["status"] == "True"
	})
}

func read(paths []string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, path := range paths {
		if path == "-" {
			found, err := parse(os.Stdin, "standard input")
			if err != nil {
				return nil, err
			}
			objects = append(objects, found...)
			continue
		}
		err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || file != path && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) || entry.Name() == "kustomization.yaml" {
				return err
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			found, err := parse(bytes.NewReader(text), file)
			objects = append(objects, found...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// parse leaves out what is no object, such as a kustomization.
func parse(from io.Reader, name string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(from, 65536); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if object.IsList() {
			list, err := object.ToList()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			for i := range list.Items {
				objects = append(objects, &list.Items[i])
			}
			continue
		}
		if object.GetName() != "" {
			objects = append(objects, object)
		}
	}
}
