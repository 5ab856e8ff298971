#!/bin/sh
# An nginx that says hello, for http_load.lua, of one process; or, with a number,
# of so many workers, each with a socket. Its files are in a folder of its own,
# which is left behind in the system's.
if [ -n "$1" ]; then
  processes="worker_processes $1;" reuse=" reuseport"
else
  processes="master_process off;" reuse=""
fi
folder=$(mktemp -d)
port=$((20000 + $$ % 10000))
cat >"$folder/nginx.conf" <<CONF
daemon off;
$processes
pid $folder/pid;
error_log $folder/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path $folder; proxy_temp_path $folder;
  fastcgi_temp_path $folder; uwsgi_temp_path $folder; scgi_temp_path $folder;
  server {
    listen 127.0.0.1:$port$reuse;
    location / { return 200 "hello\n"; }
  }
}
CONF
echo "ready $port"
exec nginx -p "$folder" -c "$folder/nginx.conf" 2>/dev/null
