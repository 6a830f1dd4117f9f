package sandbox

import (
	"fmt"
	"os"
	"path/filepath"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// Bind shows a file or a folder of the machine at a path of the pod.
func (s *Sandbox) Bind(source, target string, readOnly bool) error {
	return s.Run(func() error {
		found, err := os.Stat(source)
		if err != nil {
			return err
		}
		// A link such as /var/run -> /run must lead to the pod's /run, never to the machine's.
		place, err := securejoin.SecureJoin(s.Root, target)
		if err != nil {
			return err
		}
		if err := makePlace(place, found.IsDir()); err != nil {
			return err
		}
		if err := unix.Mount(source, place, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
		if !readOnly {
			return nil
		}
		return unix.Mount("", place, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	})
}

func makePlace(place string, folder bool) error {
	if folder {
		return os.MkdirAll(place, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(place); err == nil {
		return nil
	}
	return os.WriteFile(place, nil, 0o755)
}
