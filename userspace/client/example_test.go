package client_test

import (
	"context"
	"fmt"
	"log"
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
