//! Settings of the server as a process: where it listens, whom it lets in, what it writes.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;

use super::{
    keys::{Key, choices, section},
    kind::Kind,
};

section! {
    Server as "server";

    /// Address to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for everybody who can reach it.
    host: IpAddr = "127.0.0.1", Address;
    /// Port of plain HTTP and WebSocket; 0 picks a free one.
    port: u16 = "8080", PORT;
    /// Worker threads; 0 takes one for every two processor cores.
    workers: usize = "0", Whole(0, 1_024);
    /// Reverse proxies whose X-Forwarded-For is believed; without them all clients behind one share its address.
    trusted_proxies: Vec<IpNet> = "", Networks, reloadable;
    /// Who may read /metrics; by default this machine and private networks. Of a proxy that is not in trusted_proxies
    /// the own address counts.
    metrics_from: Vec<IpNet> = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7",
        Networks, reloadable;
    /// Names that this server is reached by, such as that of its proxy: pages of these hosts are its own, and /metrics
    /// answers by them. Its IP addresses and localhost always count; anybody could point other names to this machine.
    public_hosts: Vec<String> = "", Hosts, reloadable;
    /// An idle HTTP connection is kept this long for the next request; longer than a proxy in front keeps its own.
    keep_alive: Duration = "90s", Span("1s", "1h");
}

section! {
    Tls as "tls";

    /// Also serve https and wss on tls.port. The page https://letshare.fun can only reach wss.
    enabled: bool = "false", Switch;
    /// Port of HTTPS and secure WebSocket, beside the plain one; 0 picks a free one.
    port: u16 = "8443", PORT;
    /// Certificate chain, PEM. Needed when tls.enabled; read again when it changes.
    cert_file: Option<PathBuf> = "", File, reloadable;
    /// Private key of the certificate, PEM. Needed when tls.enabled.
    key_file: Option<PathBuf> = "", File, reloadable;
}

section! {
    Auth as "auth";

    /// Which tokens open a connection: `static` is the SHA-256 of auth.secret in hex, `jwt` is signed with jwt.secret.
    mode: AuthMode = "both", OneOf(AuthMode::WORDS), reloadable;
    /// Secret behind the static token; set it with SERVER_AUTH_SECRET. This default is public knowledge.
    secret: SecretString = "sever_auth_123", Secret, reloadable;
    /// How far the clock of whoever signs JWTs may be off, in all protocols: a JWT is taken for so long before its nbf
    /// and after its exp. Of Ably, nbf, iat and the times of token requests may be two minutes ahead in any case.
    clock_leeway: Duration = "30s", Span("0s", "2m");
}

section! {
    Jwt as "jwt";

    /// Signs and checks JWTs (HS256); set it with LETSHARE_JWT_SECRET. This default is public knowledge.
    secret: SecretString = "letshare-jwt-secret-key-2024", Secret, reloadable;
    /// Hours for which `token mint` makes a token valid, unless --hours says otherwise.
    expiration_hours: u32 = "720", Whole(1, 87_600), reloadable;
}

section! {
    Cors as "cors";

    /// Pages that may connect, exactly as browsers write their origin. Programs without an Origin header always may.
    allowed_origins: Vec<String> = "https://letshare.fun,https://www.letshare.fun,https://cdn.letshare.fun,\
        http://localhost:3000,http://localhost:5173", Origins, reloadable;
    /// Also pages served from 192.168.1.*, any port.
    allow_lan: bool = "true", Switch, reloadable;
}

section! {
    Log as "log";

    /// What is logged to stdout: plain lines on a terminal, JSON lines elsewhere.
    level: String = "info", Filter;
    /// Warnings and errors in <log.dir>/errors.log: the newest ones, and never more.
    max_entries: usize = "200", Whole(1, 100_000);
    /// Folder of errors.log; made when absent.
    dir: PathBuf = "logs", Folder;
}

section! {
    Console as "console";

    /// Serve the page /console and the admin API /admin/api: what the server does now, its connections, channels and tokens.
    enabled: bool = "false", Switch;
    /// A port of its own for them, with Ably's API and LetShare's rooms beside, and no TLS: for networks that only operators reach.
    port: Option<u16> = "", OwnPort;
    /// Who knows it may use the admin API: a text, which programs may also send as a bearer token, or its Argon2 hash (`letshare-server
    /// admin hash`). Without one only programs on this machine may, of a server with MODE=local that listens on loopback.
    password: SecretString = "", Code, reloadable;
    /// Holds it, in the place of console.password.
    password_file: Option<PathBuf> = "", File, reloadable;
}

section! {
    Shutdown as "shutdown";

    /// Pause between /ready turning off and the first close, so that a load balancer can look away.
    notice: Duration = "0s", Span("0s", "1m");
    /// From the signal to the exit, at most; the container's stop time must be longer. Longer than shutdown.notice.
    grace: Duration = "25s", Span("1s", "5m");
}

section! {
    Data as "data";

    /// Folder for what must survive a restart; made when needed.
    dir: PathBuf = "data", Folder;
    /// Bytes of the data file kept in memory.
    cache_bytes: usize = "67108864", Whole(1 << 20, 1 << 40);
    /// A data file up to this size is read through at every start, so that damage is found at once; about a second for
    /// each GiB. A larger one is checked row by row as it is read, and by `letshare-server data check`.
    verify_bytes: u64 = "1073741824", FILE_BYTES;
}

choices! {
    /// Which tokens LetShare takes.
    AuthMode: Static = "static", Jwt = "jwt", Both = "both";
}

/// Keys of older settings files that are accepted without effect. They stand behind those of `tls`.
pub(super) const IGNORED: &[Key] = &[
    Key::ignored(
        "tls.auto_cert",
        "false",
        "get the certificate with an ACME client such as certbot, and name its files in tls.cert_file and tls.key_file",
    ),
    Key::ignored("tls.domain", "", "the certificate in tls.cert_file carries the names"),
];
