package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/xrudp/xrudp/userspace/congestion"
)

// Options adjust a connection. The zero value works.
type Options struct {
	// Profile is what the server speaks on the port. Default Standard.
	Profile Profile

	// Handler, where set, is called for every message, from the connection's
	// own goroutine, and Receive is not used. The payload is valid until it
	// returns. It may call every method of Conn but Close; while it runs, the
	// connection neither receives nor retransmits.
	Handler func(c *Conn, m Message)

	// Abandoned, where set, is called from the connection's own goroutine for
	// every reliable message whose lifetime was over and that is known not to be
	// handed over at the server. id is the message's number: those of a session,
	// mode and channel count from 0 in the order in which Send and SendMessage
	// took them, and wrap. It may do what Handler may.
	Abandoned func(c *Conn, mode Mode, channel uint8, id uint16)

	// Inbox bounds the messages that wait for Receive; a message larger than a
	// packet counts as one for every 1,200 bytes or part of them. The window
	// advertised to the server closes as it fills; what comes nevertheless is
	// refused, and sent again if it is reliable. Default 8192.
	Inbox int

	// Reassembly is how many bytes of messages that are larger than a packet and
	// not complete yet are held, and so the largest such message that the server
	// may send. Default 4 MiB. Negative: nothing larger than a packet in either
	// direction, and no lifetimes.
	Reassembly int

	// HandshakeTimeout bounds each attempt to connect. Default 5 s.
	HandshakeTimeout time.Duration

	// IdleTimeout closes a connection whose server is silent for so long.
	// Default 10 s.
	IdleTimeout time.Duration

	// KeepaliveInterval is the silence after which the server is asked for a
	// sign of life. Default 1 s.
	KeepaliveInterval time.Duration

	// CloseTimeout bounds how long Close waits until everything sent was
	// acknowledged. Default 3 s.
	CloseTimeout time.Duration

	// SendQueue bounds the bytes that wait to be sent for the first time,
	// for reliable and for unreliable messages apart. Messages larger than a
	// packet have 8 MiB of their own. Default 256 KiB.
	SendQueue int

	// Bandwidth bounds what is sent, in bytes of UDP payload per second.
	// Critical messages, retransmissions and acknowledgements count but do not
	// wait. Default 0: no bound.
	Bandwidth int

	// MinRTO and MaxRTO bound the retransmission timeout. Default 30 ms and 2 s.
	MinRTO, MaxRTO time.Duration

	// Reconnect opens a new session when one ends because the server fell
	// silent, restarted or shut down. See EventReconnected for what that
	// means to messages.
	Reconnect bool

	// ReconnectMin and ReconnectMax bound the pause before an attempt, which
	// doubles from one to the next and varies by a quarter, so that a server
	// that comes back is not met by everyone at once. Default 250 ms and 10 s.
	ReconnectMin, ReconnectMax time.Duration

	// ReconnectAttempts is how many attempts in a row may fail. Default 0: no
	// limit.
	ReconnectAttempts int

	// Congestion makes the congestion controller of each session. Default: as
	// in session.Config.
	Congestion func() congestion.Controller

	// NoSACK leaves selective acknowledgements out, as a peer does that knows
	// the base header only.
	NoSACK bool

	// DialUDP opens the socket for the first and for every later session. It
	// keeps datagrams apart and honours read deadlines. Default: a UDP socket
	// connected to the address.
	DialUDP func(ctx context.Context, address string) (net.Conn, error)
}

func (o *Options) fillDefaults() {
	o.Inbox = cmp.Or(o.Inbox, 8192)
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, 5*time.Second)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 10*time.Second)
	o.KeepaliveInterval = cmp.Or(o.KeepaliveInterval, time.Second)
	o.CloseTimeout = cmp.Or(o.CloseTimeout, 3*time.Second)
	o.MinRTO = cmp.Or(o.MinRTO, 30*time.Millisecond)
	o.MaxRTO = cmp.Or(o.MaxRTO, 2*time.Second)
	o.ReconnectMin = cmp.Or(o.ReconnectMin, 250*time.Millisecond)
	o.ReconnectMax = cmp.Or(o.ReconnectMax, 10*time.Second)
	if o.DialUDP == nil {
		o.DialUDP = func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "udp", address)
		}
	}
}

func (o *Options) validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"handshake timeout", o.HandshakeTimeout}, {"idle timeout", o.IdleTimeout},
		{"keepalive interval", o.KeepaliveInterval}, {"close timeout", o.CloseTimeout},
		{"reconnect minimum", o.ReconnectMin}, {"retransmission timeout minimum", o.MinRTO},
	} {
		if d.value < 0 {
			return fmt.Errorf("%s %v: negative", d.name, d.value)
		}
	}
	switch {
	case o.ReconnectMax < o.ReconnectMin:
		return fmt.Errorf("reconnect maximum %v: below the minimum %v", o.ReconnectMax, o.ReconnectMin)
	case o.MaxRTO < o.MinRTO:
		return fmt.Errorf("retransmission timeout maximum %v: below the minimum %v", o.MaxRTO, o.MinRTO)
	case o.Inbox < 0 || o.SendQueue < 0 || o.Bandwidth < 0 || o.ReconnectAttempts < 0:
		return errors.New("negative limit")
	}
	return nil
}
