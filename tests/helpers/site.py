"""A web server on this machine with files in memory."""

import http.server
import threading


class Site:
    """A local web server: bytes and extra headers by path, and the requests received."""

    def __init__(self):
        self.files, self.headers, self.requests = {}, {}, []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self, send_body=True):
                site.requests.append((self.command, self.path))
                if self.path not in site.files:
                    self.send_error(404)
                    return
                content = site.files[self.path]
                headers = {'Content-Length': str(len(content))} | site.headers.get(self.path, {})
                self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if send_body:
                    self.wfile.write(content)

            def do_HEAD(self):
                self.do_GET(send_body=False)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def gets(self, path):
        return self.requests.count(('GET', path))
