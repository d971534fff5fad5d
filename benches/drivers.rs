//! `cargo bench --bench drivers --features bench,io-uring,portable -- --help`: `msgr bench drivers`
//! without `msgr`.

#[cfg(target_os = "linux")]
#[path = "../src/bin/msgr/bench/drivers/mod.rs"]
mod drivers;

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: drivers::DriversArgs,
        /// What cargo tells every bench
        #[arg(long, hide = true)]
        bench: bool,
    }

    let Cli { args, bench: _ } = Cli::parse();
    drivers::run(&args)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: the others that are measured too are those of Linux");
}
