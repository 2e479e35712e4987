package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/message"
)

// roomsResult is message.Rooms for programs.
type roomsResult struct {
	Server string       `json:"server"`
	Game   string       `json:"game"`
	Rooms  []roomResult `json:"rooms"`
}

type roomResult struct {
	Room    uint32 `json:"room"`
	Players uint32 `json:"players"`
	Places  uint32 `json:"places"`
}

func roomsCommand(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("rooms", flag.ContinueOnError)
	server := fs.String("server", "127.0.0.1:7777", "address of the server")
	game := fs.String("game", plaza.Name, "whose rooms")
	timeout := fs.Duration("timeout", 5*time.Second, "how long to wait for the answer")
	asJSON := fs.Bool("json", false, "print one JSON object")
	var opts client.Options
	addProfileFlag(fs, &opts.Profile)
	if err := parse(fs, args); err != nil {
		return err
	}
	ask, err := message.Append(nil, &message.ListRooms{Game: *game})
	if err != nil {
		return fmt.Errorf("--game %q: %w", *game, err)
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	conn, err := client.Dial(ctx, *server, opts)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Send(client.ReliableOrdered, plaza.ChannelRoom, message.TypeListRooms, ask); err != nil {
		return err
	}
	listed, err := receiveRooms(ctx, conn)
	if err != nil {
		return fmt.Errorf("list rooms: %w", err)
	}
	result := roomsResult{Server: *server, Game: listed.Game, Rooms: []roomResult{}}
	for _, r := range listed.Rooms {
		result.Rooms = append(result.Rooms, roomResult(r))
	}
	if *asJSON {
		return printJSON(out, result)
	}
	return result.write(out)
}

// receiveRooms waits for the answer to ListRooms.
func receiveRooms(ctx context.Context, conn *client.Conn) (listed message.Rooms, err error) {
	var codec message.Codec
	for {
		m, err := conn.Receive(ctx)
		if err != nil {
			return listed, err
		}
		switch m.Type {
		case message.TypeRooms:
			payload, err := codec.Expand(m.Payload, message.MaxPayload)
			if err != nil {
				return listed, err
			}
			return listed, message.Parse(payload, &listed)
		case message.TypeRefused:
			var why message.Refused
			if err := message.Parse(m.Payload, &why); err != nil {
				return listed, err
			}
			if why.Text != "" {
				return listed, errors.New(why.Text)
			}
			return listed, why.Code
		}
	}
}

// write prints a result for people.
func (r *roomsResult) write(out io.Writer) error {
	if len(r.Rooms) == 0 {
		_, err := fmt.Fprintf(out, "no rooms of %s for everybody on %s\n", r.Game, r.Server)
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "room\tplayers\tplaces\t")
	for _, room := range r.Rooms {
		fmt.Fprintf(table, "%d\t%d\t%d\t\n", room.Room, room.Players, room.Places)
	}
	return table.Flush()
}
