// A receiver of results from callback_sdk, for Go 1.19 or later, without dependencies.
//
//	WEBHOOK_SECRETS="whsec_... whpk_..." PORT=8080 go run receiver.go
//
// It verifies each webhook (Standard Webhooks, v1 and v1a) before it parses the body, calls handle once for each
// delivery, and responds with 200 after that. A delivery whose handler failed is accepted again. What was handled is
// remembered in memory: use a database that several processes or a restart share.
package main

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	tolerance = 5 * time.Minute // between the timestamp and this machine's clock
	maxBytes  = 16 << 20
	maxIDs    = 100_000
)

// Result is a result document.
type Result struct {
	JobID         string                     `json:"job_id"`
	Status        string                     `json:"status"`
	CallbackParam map[string]json.RawMessage `json:"callback_param"`
	Success       *bool                      `json:"success"`
	Results       json.RawMessage            `json:"results"`
	Error         string                     `json:"error,omitempty"`
	ResultsURL    string                     `json:"results_url,omitempty"` // instead of results that were too large
	TaskURL       string                     `json:"task_url,omitempty"`
	Progress      json.RawMessage            `json:"progress,omitempty"` // of a job that has not ended
	Sequence      json.Number                `json:"sequence,omitempty"`
}

// handle handles a result. It may run again after it has succeeded, if this process dies before it has responded.
func handle(result *Result) error {
	line, err := json.Marshal(map[string]any{"job_id": result.JobID, "success": *result.Success, "results": result.Results})
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	return nil
}

// httpError is a response other than 200.
type httpError struct {
	status  int
	message string
}

func (e *httpError) Error() string { return e.message }

// key verifies signatures of one scheme.
type key struct {
	scheme string
	bytes  []byte
}

// readKey decodes a shared secret (whsec_) or a public key (whpk_).
func readKey(secret string) (key, error) {
	if strings.HasPrefix(secret, "whsk_") {
		return key{}, errors.New("a receiver needs the public key (whpk_), not the secret key")
	}
	if strings.HasPrefix(secret, "whpk_") {
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whpk_"))
		if err != nil || len(decoded) != ed25519.PublicKeySize {
			return key{}, errors.New("a public key must be the base64 of 32 bytes")
		}
		return key{"v1a", decoded}, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(decoded) < 24 || len(decoded) > 64 {
		return key{}, errors.New("a webhook secret must be the base64 of 24 to 64 bytes")
	}
	return key{"v1", decoded}, nil
}

func (k key) matches(signatures []string, content []byte) bool {
	matched := false
	for _, signature := range signatures {
		prefix := k.scheme + ","
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(signature, prefix))
		if !strings.HasPrefix(signature, prefix) || err != nil {
			continue
		}
		if k.scheme == "v1a" {
			matched = ed25519.Verify(k.bytes, content, decoded) || matched
			continue
		}
		mac := hmac.New(sha256.New, k.bytes)
		mac.Write(content)
		matched = hmac.Equal(mac.Sum(nil), decoded) || matched
	}
	return matched
}

// verify verifies a webhook by its raw body, and returns its id.
func verify(keys []key, header http.Header, body []byte, now time.Time) (string, error) {
	id, timestamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	signatures := strings.Fields(header.Get("webhook-signature"))
	if id == "" || timestamp == "" || len(signatures) == 0 {
		return "", &httpError{http.StatusUnauthorized, "A header of the webhook is missing."}
	}
	content := append([]byte(id+"."+timestamp+"."), body...)
	matched := false
	for _, k := range keys {
		// All keys are compared: how long it takes must not tell which one matched.
		matched = k.matches(signatures, content) || matched
	}
	if !matched {
		return "", &httpError{http.StatusUnauthorized, "Webhook signature verification failed."}
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return "", &httpError{http.StatusUnauthorized, "The webhook timestamp is outside the tolerance."}
	}
	return id, nil
}

// readResult parses a result document.
func readResult(body []byte) (*Result, error) {
	var result Result
	if err := json.Unmarshal(body, &result); err != nil {
		return nil, &httpError{http.StatusUnprocessableEntity, "The result document is not valid JSON."}
	}
	isEnd := (result.Status == "Finished" || result.Status == "Canceled") && result.Success != nil
	if result.JobID == "" || (!isEnd && result.Status != "In Progress") {
		return nil, &httpError{http.StatusUnprocessableEntity, "The body is not a result document."}
	}
	return &result, nil
}

// deliveries remembers what is handled and what was.
type deliveries struct {
	mutex sync.Mutex
	state map[[sha256.Size]byte]bool // false while the handler runs
	order [][sha256.Size]byte        // of those that were handled
}

// once calls the handler unless the delivery was handled. The body counts too: see "Duplicates" in docs/webhooks.md.
func (d *deliveries) once(id string, body []byte, call func() error) error {
	delivery := sha256.Sum256(append([]byte(id+"."), body...))
	d.mutex.Lock()
	isDone, isKnown := d.state[delivery]
	if !isKnown {
		d.state[delivery] = false
	}
	d.mutex.Unlock()
	if isDone {
		return nil
	}
	if isKnown {
		return &httpError{http.StatusServiceUnavailable, "Another copy of this delivery is being handled."}
	}
	succeeded := false
	defer func() { d.end(delivery, succeeded) }() // also when the handler panics
	if err := call(); err != nil {
		return err
	}
	succeeded = true
	return nil
}

func (d *deliveries) end(delivery [sha256.Size]byte, succeeded bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if !succeeded {
		delete(d.state, delivery)
		return
	}
	d.state[delivery] = true
	d.order = append(d.order, delivery)
	if len(d.order) > maxIDs {
		delete(d.state, d.order[0])
		d.order = d.order[1:]
	}
}

type receiver struct {
	keys       []key
	deliveries deliveries
}

func (r *receiver) receive(writer http.ResponseWriter, request *http.Request) error {
	if request.Method != http.MethodPost {
		return &httpError{http.StatusMethodNotAllowed, "Send a POST."}
	}
	if request.ContentLength > maxBytes {
		return &httpError{http.StatusRequestEntityTooLarge, "The body is too large."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(writer, request.Body, maxBytes))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &httpError{http.StatusRequestEntityTooLarge, "The body is too large."}
	}
	if err != nil {
		return &httpError{http.StatusBadRequest, "The body is incomplete."}
	}
	id, err := verify(r.keys, request.Header, body, time.Now())
	if err != nil {
		return err
	}
	result, err := readResult(body)
	if err != nil || result.Status == "In Progress" {
		return err // an event of a job that has not ended: result.Progress, ordered by result.Sequence
	}
	return r.deliveries.once(id, body, func() error { return handle(result) })
}

func (r *receiver) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	err := r.receive(writer, request)
	if err == nil {
		writer.WriteHeader(http.StatusOK)
		return
	}
	answer := &httpError{http.StatusInternalServerError, "The handler failed."}
	if !errors.As(err, &answer) {
		log.Print(err)
	}
	writer.Header().Set("Content-Type", "application/json")
	if answer.status == http.StatusServiceUnavailable {
		writer.Header().Set("Retry-After", "5")
	}
	writer.WriteHeader(answer.status)
	_ = json.NewEncoder(writer).Encode(map[string]string{"error": answer.message})
}

func main() {
	r := &receiver{deliveries: deliveries{state: map[[sha256.Size]byte]bool{}}}
	for _, secret := range strings.Fields(os.Getenv("WEBHOOK_SECRETS")) {
		k, err := readKey(secret)
		if err != nil {
			log.Fatal(err)
		}
		r.keys = append(r.keys, k)
	}
	if len(r.keys) == 0 {
		log.Fatal("set WEBHOOK_SECRETS to the secrets or public keys, separated by spaces")
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on port %d", listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: r, ReadTimeout: 30 * time.Second}
	log.Fatal(server.Serve(listener))
}
