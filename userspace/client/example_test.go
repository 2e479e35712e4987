package client_test

import (
	"context"
	"errors"
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
	defer conn.Close()

	const chat, position = 1, 2 // the application's message types
	if err := conn.Send(client.ReliableOrdered, 1, chat, []byte("hello")); err != nil {
		log.Print(err)
	}
	// A position is worth nothing once a newer one is under way.
	err = conn.Send(client.UnreliableSequenced, 0, position, []byte{10, 20})
	if err != nil && !errors.Is(err, client.ErrWouldBlock) {
		log.Print(err)
	}

	for {
		m, err := conn.Receive(ctx)
		var closed *client.ClosedError
		switch {
		case errors.As(err, &closed):
			log.Printf("the session ended: %v", closed.Reason)
			return
		case err != nil:
			log.Print(err)
			return
		}
		log.Printf("type %d on channel %d: %q", m.Type, m.Channel, m.Payload)
	}
}
