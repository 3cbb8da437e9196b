// A Mercure hub for `make bench ROW=rivals`: the library behind Go's HTTP server, without Caddy.
// Arguments: address, secret of all tokens (HS256), file of the history.
package main

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/dunglas/mercure"
)

func main() {
	address, secret, file := os.Args[1], []byte(os.Args[2]), os.Args[3]
	subscribers := mercure.NewSubscriberList(mercure.DefaultSubscriberListCacheSize)
	history, err := mercure.NewBoltTransport(subscribers, slog.Default(), file, "", 0, 0)
	if err != nil {
		log.Fatal(err)
	}
	hub, err := mercure.NewHub(
		context.Background(),
		mercure.WithTransport(history),
		mercure.WithPublisherJWT(secret, "HS256"),
		mercure.WithSubscriberJWT(secret, "HS256"),
		mercure.WithHeartbeat(0),
		mercure.WithLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/.well-known/mercure", hub)
	log.Fatal(http.ListenAndServe(address, nil))
}
