# Programs that the tests do not ask for, without and with a preload library: bash tests/programs/others.sh LIBRARY
# One line each: the same bytes on stdout and the same status, or what differs. What is not installed is left out.
library=$(realpath "$1") || exit 2
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder" && cd "$folder" || exit 2
differ=0

# Runs the rest of its arguments both ways.
both() {
    local name=$1 way said=same
    shift
    command -v "$1" >/dev/null || return 0
    for way in without with; do
        if [ $way = with ]; then export LD_PRELOAD=$library; fi
        "$@" >"$way" 2>"$way.err" </dev/null
        echo $? >"$way.status"
        unset LD_PRELOAD
    done
    if ! cmp -s without with || ! cmp -s without.status with.status || grep -aqs heapwright: with.err; then
        said=DIFFERS differ=1
    fi
    printf '%-20s %s, status %s\n' "$name" "$said" "$(cat with.status)"
}

cat >a.lua <<'END'
local rows = {}
for i = 1, 200000 do rows[i] = {i, tostring(i) .. string.rep("x", i % 97)} end
table.sort(rows, function(a, b) return a[2] < b[2] end)
local sum = 0
for i = 1, #rows do sum = (sum * 31 + #rows[i][2] + rows[i][1]) % 1000000007 end
print(sum)
END
cat >a.php <<'END'
<?php
for ($i = 0; $i < 200000; $i++) $rows["k$i"] = str_repeat("y", $i % 89) . $i;
ksort($rows);
preg_match_all('/[0-9]+/', implode(",", $rows), $found);
echo md5(serialize($rows)), count($found[0]), strlen(json_encode($rows)), "\n";
END
cat >a.rb <<'END'
rows = {}
200_000.times { |i| rows["k#{i}"] = "z" * (i % 77) + i.to_s }
sums = 4.times.map { |t| Thread.new { rows.sum { |key, value| value.size * (t + key.size) } } }
p sums.map(&:value), Marshal.dump(rows).sum
reader, writer = IO.pipe
child = fork { writer.puts rows.size; exit!(0) }
Process.wait child
p reader.gets
END
cat >A.java <<'END'
import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.zip.*;

public class A {
    static long work(int seed) {
        CRC32 sum = new CRC32();
        for (int i = 0; i < 1000; i++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(1000 + i * 13 % 70000);
            buffer.putInt(0, i * seed);
            sum.update(buffer);
            Deflater deflater = new Deflater();
            deflater.setInput(new byte[5000]);
            deflater.finish();
            byte[] out = new byte[6000];
            sum.update(out, 0, deflater.deflate(out));
            deflater.end();
        }
        return sum.getValue();
    }

    public static void main(String[] args) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(8);
        List<Future<Long>> sums = new ArrayList<>();
        for (int t = 0; t < 16; t++) {
            final int seed = t;
            sums.add(threads.submit(() -> work(seed)));
        }
        for (Future<Long> sum : sums) System.out.println(sum.get());
        threads.shutdown();
    }
}
END

# Its extensions are loaded with RTLD_DEEPBIND and bind the C library's free: without them.
both php env USE_ZEND_ALLOC=0 php -n a.php
both lua5.4 lua5.4 a.lua
both ruby ruby a.rb
if command -v javac >/dev/null && javac A.java; then both java java -Xmx512m -cp . A; fi
both xz sh -c 'seq 1 500000 | xz -T2 -6 | cksum'
both openssl sh -c 'seq 1 200000 | openssl enc -aes-256-cbc -K 00 -iv 00 2>/dev/null | cksum'
both awk awk 'BEGIN { for (i = 0; i < 300000; i++) rows["k" i] = i; for (k in rows) sum += rows[k]; print sum }'
both ffmpeg ffmpeg -v error -f lavfi -i testsrc2=size=640x360:rate=25:duration=3 -c:v mpeg4 -threads 4 -bitexact -f avi -
both convert-im6.q16 convert-im6.q16 -size 1200x900 gradient:red-blue -wave 20x150 -sharpen 0x2 -rotate 33 -depth 8 rgb:-

# Servers, with the library only: their clients must be served, and they must end by themselves.
serves() { printf '%-20s %s\n' "$1" "$2"; [ "${2#served}" != "$2" ] || differ=1; }

if command -v redis-server >/dev/null; then
    LD_PRELOAD=$library redis-server --port 7717 --appendonly yes --io-threads 2 >redis.log 2>&1 &
    server=$!
    sleep 1
    errors=$(redis-benchmark -p 7717 -n 20000 -d 200 -r 10000 -q 2>&1 | grep -ci err)
    redis-cli -p 7717 bgsave >/dev/null
    redis-cli -p 7717 set last word >/dev/null
    last=$(redis-cli -p 7717 get last)
    kill $server
    wait $server && [ "$errors$last" = 0word ] && serves redis-server served || serves redis-server FAILED
fi
if command -v nginx >/dev/null && command -v curl >/dev/null; then
    mkdir html logs
    seq 1 200000 >html/numbers
    cat >nginx.conf <<'END'
daemon off; worker_processes 2; pid nginx.pid; error_log logs/error.log;
events { worker_connections 256; }
http { access_log off; gzip on; gzip_types *; server { listen 7718; root html; } }
END
    LD_PRELOAD=$library nginx -p "$folder/" -c nginx.conf &
    server=$!
    sleep 1
    for i in $(seq 200); do curl -s --compressed http://127.0.0.1:7718/numbers | cmp -s - html/numbers || echo $i; done >failed
    kill -HUP $server
    sleep 1
    curl -s http://127.0.0.1:7718/numbers | cmp -s - html/numbers || echo reloaded >>failed
    kill -QUIT $server
    wait $server && ! [ -s failed ] && serves nginx served || serves nginx FAILED
fi
exit $differ
