// Package dns answers for a cluster's Services: A and AAAA below cluster.local. It knows no other name.
package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

const zone = ".cluster.local."

type server struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

// Start answers on address, UDP and TCP, until the process ends.
func Start(ctx context.Context, client kubernetes.Interface, address string) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	s := &server{factory.Core().V1().Services().Lister(), factory.Discovery().V1().EndpointSlices().Lister()}
	factory.Core().V1().Services().Informer()
	factory.Discovery().V1().EndpointSlices().Informer()
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go s.servePackets(packets)
	go s.serveConnections(listener)
	return nil
}

func (s *server) servePackets(packets net.PacketConn) {
	for buffer := make([]byte, 4096); ; {
		n, from, err := packets.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer := s.answer(buffer[:n]); answer != nil {
			_, _ = packets.WriteTo(answer, from)
		}
	}
}

func (s *server) serveConnections(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			var length uint16
			for binary.Read(connection, binary.BigEndian, &length) == nil {
				question := make([]byte, length)
				if _, err := io.ReadFull(connection, question); err != nil {
					return
				}
				answer := s.answer(question)
				_, _ = connection.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			}
		}()
	}
}

// answer is nil for what is no question.
func (s *server) answer(text []byte) []byte {
	var question dnsmessage.Message
	if question.Unpack(text) != nil || len(question.Questions) != 1 {
		return nil
	}
	asked := question.Questions[0]
	addresses, known := s.addresses(strings.ToLower(asked.Name.String()))
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: question.ID, Response: true, Authoritative: true, RecursionDesired: question.RecursionDesired, RecursionAvailable: true,
		},
		Questions: question.Questions,
	}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	for _, address := range addresses {
		ip := net.ParseIP(address)
		header := dnsmessage.ResourceHeader{Name: asked.Name, Type: asked.Type, Class: asked.Class, TTL: 5}
		switch v4 := ip.To4(); {
		case v4 != nil && asked.Type == dnsmessage.TypeA:
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: [4]byte(v4)}})
		case v4 == nil && asked.Type == dnsmessage.TypeAAAA:
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: [16]byte(ip.To16())}})
		}
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// addresses of SERVICE.NAMESPACE.svc and, where a Service has no address of its own, of HOST.SERVICE.NAMESPACE.svc.
func (s *server) addresses(name string) (found []string, known bool) {
	labelsOf := strings.Split(strings.TrimSuffix(name, zone), ".")
	count := len(labelsOf)
	if !strings.HasSuffix(name, zone) || count < 3 || count > 4 || labelsOf[count-1] != "svc" {
		return nil, false
	}
	namespace, serviceName, host := labelsOf[count-2], labelsOf[count-3], ""
	if count == 4 {
		host = labelsOf[0]
	}
	service, err := s.services.Services(namespace).Get(serviceName)
	if err != nil {
		return nil, false
	}
	if host == "" && service.Spec.ClusterIP != corev1.ClusterIPNone {
		return service.Spec.ClusterIPs, true
	}
	slices, _ := s.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: serviceName}))
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready || service.Spec.PublishNotReadyAddresses
			if ready && (host == "" || endpoint.Hostname != nil && *endpoint.Hostname == host) {
				found = append(found, endpoint.Addresses...)
			}
		}
	}
	return found, host == "" || len(found) > 0
}
