// Package protocol is what servers and players of Police and Thief tell each other
// beyond the messages that all games share. MESSAGES.md describes it for other
// languages.
//
// What can be seen travels in snapshots of Entity by Schema; what happened, and what
// all know, in reliable messages on Channel, in the order in which it came about.
package protocol
