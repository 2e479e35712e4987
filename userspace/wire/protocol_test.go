package wire

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func readProtocol(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "PROTOCOL.md"))
	if err != nil {
		t.Fatalf("read protocol: %v", err)
	}
	return string(text)
}

var (
	example = regexp.MustCompile("(?ms)^```hex (\\w+)\n(.*?)^```$")
	// The digits of an example's line end where two spaces begin.
	exampleComment = regexp.MustCompile(`(?m)  .*$`)
	whitespace     = regexp.MustCompile(`\s+`)
	tableRow       = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \|$`)
)

func TestProtocolExamples(t *testing.T) {
	vectors := map[string]packetVector{}
	for _, p := range loadPackets(t) {
		vectors[p.Name] = p
	}
	examples := example.FindAllStringSubmatch(readProtocol(t), -1)
	if len(examples) < 9 {
		t.Fatalf("found %d examples", len(examples))
	}
	for _, e := range examples {
		name, text := e[1], e[2]
		t.Run(name, func(t *testing.T) {
			digits := whitespace.ReplaceAllString(exampleComment.ReplaceAllString(text, ""), "")
			packet, err := hex.DecodeString(digits)
			if err != nil {
				t.Fatalf("decode example: %v", err)
			}
			v, ok := vectors[name]
			if !ok {
				t.Fatal("no vector of this name")
			}
			if !bytes.Equal(packet, v.Hex) {
				t.Errorf("example %x\nvector  %x", packet, []byte(v.Hex))
			}
			got := decode(v.profile(t), packet, v.To == "server", true)
			if !reflect.DeepEqual(got, v.decodedPacket) {
				t.Fatalf("decoded %s\nwant    %s", inJSON(t, got), inJSON(t, v.decodedPacket))
			}
			if again := encode(v.profile(t), &got, len(packet)); !bytes.Equal(again, packet) {
				t.Errorf("encoded %x\nwant    %x", again, packet)
			}
		})
	}
}

// section returns the text between two headings.
func section(t *testing.T, text, from, to string) string {
	t.Helper()
	_, text, found := strings.Cut(text, "\n## "+from)
	text, _, ended := strings.Cut(text, "\n## "+to)
	if !found || !ended {
		t.Fatalf("no section from %q to %q", from, to)
	}
	return text
}

func TestProtocolLimits(t *testing.T) {
	_, compact, found := strings.Cut(readProtocol(t), "\n### 21.8 ")
	compact, _, ended := strings.Cut(compact, "\n### 21.9 ")
	if !found || !ended {
		t.Fatal("no section of compact limits")
	}
	compareLimits(t, compact, map[string]int{
		"header, bytes":                    compactHeaderSize,
		"with the front of a block, bytes": compactHeaderSize + compactAckSize,
		"largest header and block, bytes":  Compact.Overhead(),
		"delay unit, microseconds":         compactDelayUnit,
		"body of RST, bytes":               ReasonSize + 4,
	})
	compareLimits(t, section(t, readProtocol(t), "16.", "17."), map[string]int{
		"header, bytes":         HeaderSize,
		"largest packet, bytes": MaxDatagramLimit,
		"largest packet before a larger one was found to pass, bytes": MaxDatagram,
		"fields of FRAGMENT before its data, bytes":                   FragmentHeaderSize,
		"smallest limit that MTU can set, bytes":                      MinDatagram,
		"smallest SYN, bytes":                                         MinSYN,
		"options in a list":                                           MaxOptions,
		"message header, bytes":                                       MessageHeaderSize,
		"messages in a packet":                                        MaxMessages,
		"bitmap words in an acknowledgement block":                    AckWordsMax,
		"words of the window":                                         AckWindowWords,
		"largest acknowledgement block, bytes":                        AckBlockMax,
		"largest payload beside any acknowledgement block, bytes":     MaxPayload,
		"reliable receive window, packets":                            ReceiveWindow,
		"replay window, packets":                                      ReplayWindow,
		"channels":                                                    Unordered,
	})
}

// compareLimits checks a table of limits.
func compareLimits(t *testing.T, table string, want map[string]int) {
	t.Helper()
	seen := 0
	for _, row := range tableRow.FindAllStringSubmatch(table, -1) {
		if row[1] == "limit" || strings.HasPrefix(row[1], "-") {
			continue
		}
		limit, ok := want[row[1]]
		if !ok {
			t.Errorf("limit %q is not checked", row[1])
			continue
		}
		seen++
		if row[2] != strconv.Itoa(limit) {
			t.Errorf("%s is %s, the package has %d", row[1], row[2], limit)
		}
	}
	if seen != len(want) {
		t.Errorf("%d limits listed, want %d", seen, len(want))
	}
}

func TestProtocolReasons(t *testing.T) {
	seen := map[Reason]bool{}
	for _, row := range tableRow.FindAllStringSubmatch(section(t, readProtocol(t), "14.", "15."), -1) {
		n, err := strconv.Atoi(row[1])
		if err != nil {
			continue
		}
		r := Reason(n)
		seen[r] = true
		if r.String() != row[2] {
			t.Errorf("reason %d is %q, the package says %q", n, row[2], r)
		}
	}
	for r := ReasonClosed; r <= ReasonKicked; r++ {
		if !seen[r] {
			t.Errorf("reason %d is not listed", uint8(r))
		}
	}
}

// The header for C holds the same numbers.
func TestConstantsAreThoseOfTheHeader(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "headers", "proto.h"))
	if err != nil {
		t.Fatalf("read header: %v", err)
	}
	defined := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#define (\w+)\s+(\w+)`).FindAllStringSubmatch(string(text), -1) {
		defined[m[1]] = m[2]
	}
	tests := []struct {
		name string
		want int
	}{
		{"HDR_LEN", HeaderSize}, {"HDR_OFF_SEQ", offSequence}, {"HDR_OFF_ACK", offAck},
		{"HDR_OFF_FLAGS", offFlags}, {"HDR_OFF_WINDOW", offWindow}, {"HDR_OFF_CSUM", offChecksum},
		{"HDR_OFF_TSTAMP", offTimestamp},
		{"FLAG_SYN", int(FlagSYN)}, {"FLAG_ACK", int(FlagACK)}, {"FLAG_FIN", int(FlagFIN)},
		{"FLAG_RST", int(FlagRST)}, {"FLAG_PSH", int(FlagPSH)}, {"FLAG_URG", int(FlagURG)},
		{"FLAG_ECE", int(FlagECE)}, {"FLAG_CWR", int(FlagCWR)},
		{"MAX_DATAGRAM", MaxDatagramLimit}, {"SYN_MIN_LEN", MinSYN},
		{"OPT_PAD", OptionPad}, {"OPT_COOKIE", OptionCookie}, {"OPT_SACK", OptionSACK}, {"OPT_MTU", OptionMTU},
		{"OPT_CONTROL", OptionControl}, {"OPT_CONTROL_LEN", controlSize},
		{"OPT_COOKIE_LEN", cookieSize}, {"OPT_MTU_LEN", mtuSize}, {"OPT_MAX", MaxOptions},
		{"MSG_HDR_LEN", MessageHeaderSize}, {"MSG_MAX", MaxMessages},
		{"MSG_TYPE_HELLO", TypeHello}, {"MSG_TYPE_CONTROL", TypeControl},
		{"MSG_TYPE_FRAGMENT", TypeFragment}, {"MSG_TYPE_PAD", TypePad},
		{"COMPACT_HDR_LEN", compactHeaderSize}, {"COMPACT_ACK_LEN", compactAckSize},
		{"COMPACT_ECHO_LEN", compactEchoSize}, {"COMPACT_DELAY_UNIT", compactDelayUnit},
		{"COMPACT_FLAG_ACK", compactACK}, {"COMPACT_FLAG_SYN", compactSYN}, {"COMPACT_FLAG_FIN", compactFIN},
		{"COMPACT_FLAG_RST", compactRST}, {"COMPACT_FLAG_FRAG", compactFRAG}, {"COMPACT_FLAG_URG", compactURG},
		{"COMPACT_FLAG_REL", compactREL}, {"COMPACT_FLAG_ECE", compactECE},
		{"COMPACT_PRIORITY", compactPriority}, {"COMPACT_CWR", compactCWR}, {"COMPACT_RST_LEN", ReasonSize + 4},
		{"ACKB_FIXED_LEN", ackBlockFixed}, {"ACKB_WORDS_MAX", AckWordsMax},
		{"ACKB_OFFSET_SHIFT", ackOffsetShift},
		{"RCV_WINDOW", ReceiveWindow}, {"REPLAY_WINDOW", ReplayWindow},
	}
	for _, tt := range tests {
		got, err := strconv.ParseInt(defined[tt.name], 0, 0)
		if err != nil || int(got) != tt.want {
			t.Errorf("%s is %q, the package has %d", tt.name, defined[tt.name], tt.want)
		}
	}
}
