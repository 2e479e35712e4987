package gate

// Verdict is what becomes of a frame, numbered as the kernel numbers XDP
// actions.
type Verdict uint8

const (
	Aborted Verdict = iota
	Drop
	Pass
	TX
	Redirect
)

// String returns the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case Aborted:
		return "aborted"
	case Drop:
		return "drop"
	case Pass:
		return "pass"
	case TX:
		return "tx"
	case Redirect:
		return "redirect"
	}
	return "unknown"
}

// Outcome is a way for a frame to leave the gate, in the order of
// headers/stats.h.
type Outcome uint16

const (
	PassNotIP        Outcome = iota // neither IPv4 nor IPv6, or truncated
	PassVLANDepth                   // more than two VLAN tags
	PassFragment                    // IPv4 fragment, IPv6 fragment header
	PassIP6Extension                // IPv6 extension header
	PassNotUDP                      // another transport, bad IP header
	PassOtherPort                   // UDP to a port we do not serve
	PassOtherHost                   // our port, not our address; multicast
	DropUDPLength                   // UDP length disagrees with the frame
	DropTruncated                   // shorter than a header
	DropOversize                    // longer than max_datagram
	DropFlags                       // combination that no peer sends
	DropChecksum
	DropSYNLength // SYN smaller than its reply may be
	DropSYNOption // malformed option list
	DropNoSession
	DropCookie       // HELLO with a forged or stale cookie
	DropHello        // HELLO malformed
	DropAck          // acknowledges what was never sent
	DropAckBlock     // malformed, or selects what was never sent
	DropSequence     // outside the receive window
	DropReplay       // unreliable packet seen before or too old
	DropMessage      // message framing
	DropReset        // RST outside the window or malformed
	DropRingFull     // no commit slot: not acknowledged
	DropRingPressure // out of order while slots are scarce
	AbsorbAck
	AbsorbAckStale // older than what is already known
	TXSYNAck
	TXAck // reliable packet committed
	TXAckDuplicate
	TXKeepalive
	RedirectHello
	RedirectData
	RedirectReset
	PassHello
	PassData
	PassReset
	AbortedReply
	DropSessionBudget // too many of the session wait already

	OutcomeMax // how many there are
)

var outcomes = [OutcomeMax]struct {
	name    string
	verdict Verdict
}{
	PassNotIP:        {"pass_not_ip", Pass},
	PassVLANDepth:    {"pass_vlan_depth", Pass},
	PassFragment:     {"pass_fragment", Pass},
	PassIP6Extension: {"pass_ip6_extension", Pass},
	PassNotUDP:       {"pass_not_udp", Pass},
	PassOtherPort:    {"pass_other_port", Pass},
	PassOtherHost:    {"pass_other_host", Pass},
	DropUDPLength:    {"drop_udp_length", Drop},
	DropTruncated:    {"drop_truncated", Drop},
	DropOversize:     {"drop_oversize", Drop},
	DropFlags:        {"drop_flags", Drop},
	DropChecksum:     {"drop_checksum", Drop},
	DropSYNLength:    {"drop_syn_length", Drop},
	DropSYNOption:    {"drop_syn_option", Drop},
	DropNoSession:    {"drop_no_session", Drop},
	DropCookie:       {"drop_cookie", Drop},
	DropHello:        {"drop_hello", Drop},
	DropAck:          {"drop_ack", Drop},
	DropAckBlock:     {"drop_ack_block", Drop},
	DropSequence:     {"drop_sequence", Drop},
	DropReplay:       {"drop_replay", Drop},
	DropMessage:      {"drop_message", Drop},
	DropReset:        {"drop_reset", Drop},
	DropRingFull:     {"drop_ring_full", Drop},
	DropRingPressure: {"drop_ring_pressure", Drop},
	AbsorbAck:        {"absorb_ack", Drop},
	AbsorbAckStale:   {"absorb_ack_stale", Drop},
	TXSYNAck:         {"tx_syn_ack", TX},
	TXAck:            {"tx_ack", TX},
	TXAckDuplicate:   {"tx_ack_duplicate", TX},
	TXKeepalive:      {"tx_keepalive", TX},
	RedirectHello:    {"redirect_hello", Redirect},
	RedirectData:     {"redirect_data", Redirect},
	RedirectReset:    {"redirect_reset", Redirect},
	PassHello:        {"pass_hello", Pass},
	PassData:         {"pass_data", Pass},
	PassReset:        {"pass_reset", Pass},
	AbortedReply:     {"aborted_reply", Aborted},

	DropSessionBudget: {"drop_session_budget", Drop},
}

// String returns the name of the outcome's counter.
func (o Outcome) String() string {
	if o >= OutcomeMax {
		return "unknown"
	}
	return outcomes[o].name
}

// Verdict returns what becomes of the frame.
func (o Outcome) Verdict() Verdict { return outcomes[o].verdict }
