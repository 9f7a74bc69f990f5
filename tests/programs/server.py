"""A threaded web server on 127.0.0.1 and the clients that use it, all in one process; a thread per connection."""
import hashlib
import http.client
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        size = int(self.path.rsplit("/", 1)[1])
        self.answer(hashlib.sha256(self.path.encode()).digest() * (size // 32))

    def do_POST(self):
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(json.dumps(sorted(data, key=str), sort_keys=True).encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()


def client(number):
    seen = hashlib.sha256()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    for i in range(25):
        if i % 3:
            connection.request("GET", "/%d/%d" % (number, 32 * (i * 997 % 9000)))
        else:
            connection.request("POST", "/", json.dumps(["%d-%d" % (number, j * 7919 % 1000) for j in range(i * 20)]))
        answer = connection.getresponse()
        seen.update(b"%d" % answer.status)
        seen.update(answer.read())
    connection.close()
    return seen.hexdigest()[:16]


with ThreadPoolExecutor(8) as pool:
    for number, value in enumerate(pool.map(client, range(16))):
        print("client", number, value)
server.shutdown()
server.server_close()
print("requests", 16 * 25)
