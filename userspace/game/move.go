package game

import "github.com/xrudp/xrudp/userspace/metrics"

// A node gives rooms away when it spends more than busyLoad of its time in ticks,
// in millionths, and another unevenLoad less.
const (
	busyLoad   = 500_000
	unevenLoad = 200_000
)

// balance gives a room to the node with the least load where both are better off.
func (n *Node) balance(now uint64, load uint32) {
	period := now - n.balanced
	n.balanced = now
	var best *Room
	if to, least := n.dir.idlest(n.self); to >= 0 && !n.opts.KeepRooms && load > busyLoad && load > least+unevenLoad {
		// Half of the difference would make them equal.
		gap := uint64(load-least) / 2
		var most uint64
		for _, r := range n.rooms {
			if part := r.cost * 1e6 / period; part > most && part <= gap && !r.closing {
				best, most = r, part
			}
		}
		if best != nil {
			// Until the nodes have measured again.
			n.dir.nodes[to].load.Add(uint32(most))
			n.move(best, to)
		}
	}
	for _, r := range n.rooms {
		r.cost = 0
	}
}

// move hands a room that is not closing to another node. Both ends of every
// stream go by the numbers of letters, which move with the room:
//
//	owner                  new owner              node of a player
//	room in the directory
//	take  ---------------> picks the room up
//	                       moved  --------------> sends to the new owner
//	letters from there <-------------------------
//	      ---------------> in their turn
//
// What comes before its turn waits for what is still on the way by the former
// owner.
func (n *Node) move(r *Room, to int) {
	r.node = nil
	n.disown(r)
	n.dir.hand(r, to)
	n.count.Add(metrics.RoomsMoved, 1)
	n.mail(to, &letter{kind: letterTake, room: r.id}, nil, true)
}

// take picks up a room that another node handed over.
func (n *Node) take(id uint32) {
	r := n.dir.take(id)
	r.cost = 0
	n.adopt(r)
	if r.paced == nil && len(r.players) > 0 {
		// What it missed on its way does not mean that this node has too much to do.
		n.count.Add(metrics.TicksLost, r.giveUp(r.Now(), maxCatchUp))
	}
	for node := range r.links {
		if r.links[node].players > 0 {
			r.say(node, &letter{kind: letterMoved}, nil, true)
		}
	}
	waiting := n.waiting[id]
	delete(n.waiting, id)
	for i := range waiting {
		r.arrive(&waiting[i].letter, waiting[i].payload)
	}
	r.settle()
}
