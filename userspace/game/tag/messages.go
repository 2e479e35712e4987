package tag

//go:generate go tool msgp -io=false -tests=false -o messages_gen.go

// Types of messages, from the range that is the games' own.
const (
	TypeTagged = 0x90
	TypeLost   = 0x91
)

// Tagged says who is it now. By is who was before, 0 when nobody did it.
type Tagged struct {
	Player uint32 `msg:"player"`
	By     uint32 `msg:"by"`
}

// Lost says who was it for too long. The room closes after it.
type Lost struct {
	Player uint32 `msg:"player"`
}

// Kind is the type of the message.
func (*Tagged) Kind() uint8 { return TypeTagged }

// Kind is the type of the message.
func (*Lost) Kind() uint8 { return TypeLost }
