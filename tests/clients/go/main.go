// Reads with tmaxmax/go-sse or r3labs/sse; both come back by themselves, with the id.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	r3labs "github.com/r3labs/sse/v2"
	"github.com/tmaxmax/go-sse"
	"gopkg.in/cenkalti/backoff.v1"
)

// A token is read for each connection, so that a new one is taken up.
type bearer struct{ file string }

func (b bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	token, err := os.ReadFile(b.file)
	if err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return http.DefaultTransport.RoundTrip(request)
}

func show(kind, id, data string) {
	if data != "" { // none: an id alone, which is no event
		fmt.Printf("{\"type\":%q,\"id\":%q,\"data\":%s}\n", kind, id, data)
	}
}

func main() {
	library, url, id := os.Args[1], os.Args[2], os.Args[4]
	client := &http.Client{Transport: bearer{os.Args[3]}}
	if library == "r3labs" {
		readWithR3labs(client, url, id)
	} else {
		readWithGoSSE(client, url, id)
	}
}

func readWithGoSSE(client *http.Client, url, id string) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		log.Fatal(err)
	}
	if id != "" {
		request.Header.Set("Last-Event-ID", id)
	}
	source := &sse.Client{
		HTTPClient: client,
		OnRetry:    func(err error, wait time.Duration) { log.Print(err, " ", wait) },
	}
	connection := source.NewConnection(request)
	connection.Buffer(nil, 1<<21) // of an event; otherwise 64 KiB
	connection.SubscribeToAll(func(e sse.Event) { show(e.Type, e.LastEventID, e.Data) })
	log.Fatal(connection.Connect())
}

func readWithR3labs(client *http.Client, url, id string) {
	source := r3labs.NewClient(url, r3labs.ClientMaxBufferSize(1<<21))
	source.Connection = client
	source.LastEventID.Store([]byte(id))
	source.ReconnectStrategy = backoff.NewConstantBackOff(100 * time.Millisecond)
	for { // it comes back from errors only, not when the server has ended the stream
		err := source.SubscribeRaw(func(e *r3labs.Event) {
			show(string(e.Event), string(e.ID), string(e.Data))
		})
		log.Print(err)
	}
}
