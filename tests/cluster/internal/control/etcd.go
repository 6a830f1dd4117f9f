// Package control runs the upstream control plane: etcd in this process, the Kubernetes components in it or as its children.
package control

import (
	"net/url"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/embed"
)

const etcdClient = "http://127.0.0.1:2379"

// StartEtcd runs one member whose data is in memory: nothing of it outlives the cluster.
func StartEtcd(dataDir, logDir string) error {
	config := embed.NewConfig()
	client, _ := url.Parse(etcdClient)
	peer, _ := url.Parse("http://127.0.0.1:2380")
	config.Dir = dataDir
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	config.InitialCluster = config.Name + "=" + peer.String()
	config.UnsafeNoFsync = true
	config.LogLevel = "error"
	config.LogOutputs = []string{filepath.Join(logDir, "etcd.log")}
	config.TickMs, config.ElectionMs = 10, 100 // there is nobody to wait for
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return nil
	case err := <-etcd.Err():
		return err
	}
}
