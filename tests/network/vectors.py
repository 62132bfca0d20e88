"""Requests that must not leave the server: what is asked for, and the kind of error it gets.

The server allows `*`, `*:8080`, `*.example.org` and, by name but without a port, `plain.test`; names resolve as `DNS`
says.
"""

ALLOWED = ["*", "*:8080", "*.example.org", "plain.test"]

DNS = {
    "loopback.example.org": ["127.0.0.1"],
    "loopback6.example.org": ["::1"],
    "private.example.org": ["10.1.2.3"],
    "mixed.example.org": ["93.184.216.34", "192.168.0.1"],
    "mixed6.example.org": ["2606:2800:220:1::1", "fe80::1"],
    "metadata.example.org": ["169.254.169.254"],
    "metadata.google.internal": ["169.254.169.254"],
    "mapped.example.org": ["::ffff:10.0.0.1"],
    "nat64.example.org": ["64:ff9b::a00:1"],
    "unspecified.example.org": ["0.0.0.0"],
    "plain.test": ["127.0.0.1"],
    "localhost": ["127.0.0.1", "::1"],
    "localtest.me": ["127.0.0.1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
}

LITERALS = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.254 127.0.0.1 127.0.0.53 127.1.2.3
127.255.255.255 168.63.129.16 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.254 192.0.0.1 192.0.0.192
192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1
239.255.255.250 240.0.0.1 255.255.255.255
[::] [::1] [0:0:0:0:0:0:0:1] [::127.0.0.1] [::a00:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:10.0.0.1]
[::ffff:169.254.169.254] [::ffff:93.184.216.34] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::10.0.0.1]
[64:ff9b::a9fe:a9fe] [64:ff9b:1::1] [64:ff9b:1:fffe::10.0.0.1] [2001::1] [2001:0:7f00:1::] [2001:db8::1]
[2001:10::1] [2001:20::1] [2002:7f00:1::] [2002:a00:1::1] [3fff::1] [100::1] [fc00::1] [fd00::1] [fd00:ec2::254]
[fd20:ce::254] [fe80::1] [febf::1] [fec0::1] [ff02::1] [ff0e::1] [5f00::1] [4000::1]
[2606:2800:220:1:0:5efe:127.0.0.1] [2606:2800:220:1:200:5efe:10.0.0.1]
""".split()  # noqa: SIM905  # as a table it can be read

ODD_HOSTS = """
127.1 127.0.1 10.1 0 1 2130706433 017700000001 0177.0.0.1 0177.0.0.01 0x7f.1 0x7f.0.0.1 0x7f000001 0x7F000001
127.0.0.0x1 00.0.0.0 127.0.0.01 127.000.000.001 256.0.0.1 1.2.3.4.5 4294967297 127.0.0.1. localhost. example.org.
.example.org example..org -example.org example-.org exam_ple.org example.org:0 example.org:65536 example.org:8080x
example.org:080 example.org: :80 [::1 ::1 [::1]] [::1]x [fe80::1%25eth0] [fe80::1%eth0] [::1%] [127.0.0.1] [] [v1.x]
%31%32%37.0.0.1 %6c%6f%63%61%6c%68%6f%73%74 127%2e0%2e0%2e1 localhost%00.example.org localhost%2eexample.org
user@127.0.0.1 user:password@example.org a.example.org@127.0.0.1 127.0.0.1%40a.example.org a.example.org:80@127.0.0.1
a.example.org\\@127.0.0.1 a.example.org\\.localhost a.example.org,127.0.0.1 a.example.org;127.0.0.1 *.example.org
""".split()  # noqa: SIM905  # as a table it can be read

UNICODE = [
    "http://\uff11\uff12\uff17.0.0.1/",  # digits of full width
    "http://\u2460\u2461\u2466.0.0.1/",  # digits in circles
    "http://127\u30020\u30020\u30021/",  # full stops of CJK
    "http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54/",
    "http://loca\u00adlhost/",  # a soft hyphen
    "http://l\u03bfcalhost.example.org/",
    "http://ex\u00e4mple.org/",
    "http://a.example.org\u2044@127.0.0.1/",
    "http://a.example.org\uff0f127.0.0.1/",
    "http://a.example.org/\u00e4",
    "http://a.example.org/\u200b",
]

MALFORMED = [
    "",
    "a.example.org",
    "//a.example.org/",
    "http:a.example.org",
    "http:/a.example.org/",
    "http:///a.example.org/",
    "http://",
    "http://?a.example.org",
    "http://#a.example.org",
    "https:\\\\a.example.org",
    "ftp://a.example.org/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
    "dict://127.0.0.1:11211/stat",
    "ldap://127.0.0.1/",
    "unix:///var/run/docker.sock",
    "data:text/plain,x",
    "jar:http://a.example.org!/",
    "javascript:alert(1)",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "netdoc:///etc/passwd",
    "ws://a.example.org/",
    " http://a.example.org/",
    "http://a.example.org/ ",
    "http://a.example.org /",
    "http:// a.example.org/",
    "http://a.example.org/a b",
    "http://a.example.org/\r\nX-Injected: 1",
    "http://a.example.org/%0d%0a\r\n",
    "http://a.example.org\r\nHost: 127.0.0.1/",
    "http://a.example.org\t/",
    "http://a.example.org\x00.localhost/",
    "http://a.example.org/\x00",
    "http://a.example.org/\x7f",
    "http://a.example.org/\\..",
    "http://a.example.org/" + "x" * 9000,
    "http://" + "a" * 64 + ".example.org/",
    "http://" + "a." * 130 + "example.org/",
]

NAMES = [f"http://{name}/" for name in DNS] + [
    "http://loopback.example.org:80/",
    "http://loopback.example.org:8080/",
    "https://private.example.org/",
    "http://plain.test:80/",
]

FOREIGN = [  # what no entry of the server's list is for: nothing is looked up
    "http://plain.test:81/",
    "http://a.example.org:22/",
    "https://a.example.org:80/",
    "http://a.example.org:443/",
    "http://localhost:6379/",
    "http://127.0.0.1:2375/",
]

# (url, the error's name, whether the resolver may be asked)
REFUSED = [
    *[(f"http://{host}/latest/meta-data/", "CapabilityError", False) for host in LITERALS],
    *[(f"https://{host}/", "CapabilityError", False) for host in LITERALS[::7]],
    *[(f"http://{host}:8080/", "CapabilityError", False) for host in LITERALS[::7]],
    *[(f"http://{host}/", "ArgumentError", False) for host in ODD_HOSTS],
    *[(url, "ArgumentError", False) for url in [*UNICODE, *MALFORMED]],
    *[(url, "CapabilityError", True) for url in NAMES],
    *[(url, "CapabilityError", False) for url in FOREIGN],
]
