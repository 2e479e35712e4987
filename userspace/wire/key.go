package wire

import (
	"encoding/binary"
	"net/netip"
)

// KeySize is the size of an encoded Key.
const KeySize = 36

// Key names a session: a client and the server address it talks to. Addresses
// are 16 bytes in network order, IPv4 mapped into ::ffff:0:0/96; ports are in
// host order. Keys are comparable.
type Key struct {
	Client, Server         [16]byte
	ClientPort, ServerPort uint16
}

// MakeKey returns the key for a client and a server. Zones are dropped.
func MakeKey(client, server netip.AddrPort) Key {
	return Key{
		Client:     client.Addr().As16(),
		Server:     server.Addr().As16(),
		ClientPort: client.Port(),
		ServerPort: server.Port(),
	}
}

// ClientAddrPort returns the client's address, IPv4 unmapped.
func (k *Key) ClientAddrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(k.Client).Unmap(), k.ClientPort)
}

// ServerAddrPort returns the server's address, IPv4 unmapped.
func (k *Key) ServerAddrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(k.Server).Unmap(), k.ServerPort)
}

// Put writes the key as struct session_key lays it out, ports big-endian.
func (k *Key) Put(b *[KeySize]byte) {
	copy(b[0:], k.Client[:])
	copy(b[16:], k.Server[:])
	binary.BigEndian.PutUint16(b[32:], k.ClientPort)
	binary.BigEndian.PutUint16(b[34:], k.ServerPort)
}

// ParseKey reads what Put wrote. Every array is a key.
func ParseKey(b *[KeySize]byte) Key {
	return Key{
		Client:     [16]byte(b[0:16]),
		Server:     [16]byte(b[16:32]),
		ClientPort: binary.BigEndian.Uint16(b[32:]),
		ServerPort: binary.BigEndian.Uint16(b[34:]),
	}
}

// Hash spreads clients over workers: the gate sends a HELLO to worker Hash
// modulo their number, so that all those of one client meet. It is the key_hash
// of bpf/gate.c, and no secret.
func (k *Key) Hash() uint32 {
	var b [KeySize]byte
	k.Put(&b)
	h := uint32(0)
	for i := 0; i < 32; i += 4 {
		h = hashWord(h, binary.BigEndian.Uint32(b[i:]))
	}
	return hashWord(hashWord(h, uint32(k.ServerPort)), uint32(k.ClientPort))
}

func hashWord(h, word uint32) uint32 {
	h = (h ^ word) * 0x9e3779b1
	return h ^ h>>15
}
