package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
)

func ExampleDial() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, "game.example.com:7777", client.Options{Reconnect: true})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close() // delivers what was sent before

	const channel, typeChat = 1, 0x04
	if err := conn.Send(client.ReliableOrdered, channel, typeChat, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	for {
		m, err := conn.Receive(ctx)
		if err != nil {
			log.Fatal(err) // a *client.ClosedError says why
		}
		fmt.Printf("type %#02x on channel %d: %q\n", m.Type, m.Channel, m.Payload)
	}
}

func ExampleConn_SendMessage() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, "game.example.com:7777", client.Options{
		Abandoned: func(_ *client.Conn, mode client.Mode, channel uint8, id uint16) {
			fmt.Printf("the server does without %v message %d of channel %d\n", mode, id, channel)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	const channelShots, channelMaps, typeShot, typeMap = 1, 2, 0x10, 0x11
	shot := client.Outgoing{
		Mode: client.ReliableUnordered, Channel: channelShots, Type: typeShot,
		Priority: client.Critical,        // before everything else
		Lifetime: 250 * time.Millisecond, // later nobody cares
		Payload:  []byte{12, 34},
	}
	if err := conn.SendMessage(shot); err != nil {
		log.Fatal(err)
	}

	level, err := os.ReadFile("level.map") // as large as conn.MaxMessage() at most
	if err != nil {
		log.Fatal(err)
	}
	upload := client.Outgoing{
		Mode: client.ReliableOrdered, Channel: channelMaps, Type: typeMap,
		Priority: client.Low, // behind everything else
		Payload:  level,
	}
	if err := conn.SendMessage(upload); err != nil {
		log.Fatal(err)
	}
}
