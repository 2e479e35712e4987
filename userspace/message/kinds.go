package message

// Action is what a PlayerAction is about.
type Action uint8

const (
	Move     Action = 1 // to X, Y, Z
	Attack   Action = 2 // Target, or towards X, Y, Z
	UseItem  Action = 3 // Item, on Target if there is one
	Interact Action = 4 // with Target
	Cast     Action = 5 // Item, on Target or at X, Y, Z
)

// Media is what a MediaStream carries.
type Media uint8

const (
	KeyFrame       Media = 1 // video that needs nothing before it
	PredictedFrame Media = 2 // video that needs the frames since the last key frame
	Audio          Media = 3
)
