package commit

import (
	"errors"
	"fmt"
)

// Errors of OpenFile that callers branch on.
var (
	ErrLocked  = errors.New("in use by another process")
	ErrForeign = errors.New("not a commit file")
)

// MismatchError says what a state file was made with when that differs from
// what was asked for. A caller that wants what is in it opens it again with
// Geometry, provided Schema is SchemaVersion.
type MismatchError struct {
	Schema   uint32
	Geometry Geometry
}

func (e *MismatchError) Error() string {
	if e.Schema != SchemaVersion {
		return fmt.Sprintf("commit file has schema version %d, want %d", e.Schema, SchemaVersion)
	}
	return fmt.Sprintf("commit file has geometry %+v", e.Geometry)
}
