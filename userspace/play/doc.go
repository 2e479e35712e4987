// Package play is a player's half of package game: it joins a room, says where the
// player is, and shows the room as the player sees it.
//
//	p, err := play.Dial(ctx, "game.example.com:7777", client.Options{}, play.Options[State]{
//		Schema: schema, Position: func(s *State) *play.Vec { return &s.At },
//	})
//	p.Join(play.Join{Game: "arena", Name: "ada"})
//	for each frame {
//		for _, e := range p.Update(p.Now()) { ... }
//		at, placed := p.At()
//		p.Move(step(at), orientation)
//		seen = p.View(seen[:0])
//	}
//
// A Player belongs to one goroutine, the game's loop. Only Deliver may be called
// from others: it keeps what came until the next Update, from which all handlers
// are called.
//
// A player goes where it wants at once, and the server corrects it afterwards: what
// was claimed since is moved along, and Corrected tells how far. Everybody else is
// shown a little in the past, between two snapshots.
package play
