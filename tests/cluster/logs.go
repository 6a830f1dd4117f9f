package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// logs prints a pod's files, so that those of deleted pods and of ended clusters can be read too.
func logs(args []string) error {
	dir, words, err := flagsOf("logs", args, nil)
	if err != nil {
		return err
	}
	if len(words) == 0 || strings.Count(words[0], "/") != 1 {
		return errors.New("logs: name a pod as NAMESPACE/POD; POD may be a pattern such as 'tidegate-*'")
	}
	container := "*"
	if len(words) > 1 {
		container = words[1]
	}
	files, err := filepath.Glob(dir.path("pods/" + strings.Replace(words[0], "/", "_", 1) + "_*/" + container + ".log"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no pod %s has written anything in %s", words[0], dir.path("pods"))
	}
	for _, file := range files {
		fmt.Printf("==> %s\n", strings.TrimPrefix(file, dir.path("pods")+"/"))
		if err := print(file); err != nil {
			return err
		}
	}
	return nil
}

func print(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(os.Stdout, file)
	return err
}
