// Package game is a framework for games: rooms that belong to one worker each,
// players that may be connected to any, typed messages between them, a fixed
// tick, limits, and rooms that move from a busy worker to an idle one while they
// are played in.
//
// A studio writes a Logic, names it in a Kind, and runs it with worker.Game.
// Everything about a room happens on the thread of the worker that owns it, so
// a Logic takes no locks. docs/games.md walks through a game.
//
//	player's node                        room's node
//	Connect, messages   --letters-->     Room: handlers, Logic, ticks
//	players of the room <--letters--     one per node, whatever its players
//
// A player's messages reach its room in the order in which they were sent, and
// what the room sends reaches a player in order, each reliable one once, also
// across a move. Unreliable ones may be lost, more of them around a move.
//
// What builds on rooms, such as a world of entities, is made in Kind.New and hangs
// itself in: Room.Handle takes messages of a fixed layout, OnTickStart and OnTickEnd
// frame Logic.Tick, OnJoin and OnLeave follow the players, whom Player.Index numbers
// densely. Player.SendMessage and Room.BroadcastMessage send payloads that are
// encoded already, in any mode. Tick.Thinning says how many rounds of state to make
// one of. None of these keeps a payload, and none allocates.
package game
