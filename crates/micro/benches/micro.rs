//! The cases in time: `cargo bench -p micro`, or `cargo bench -p micro -- put` for some of them.

use divan::counter::ItemsCount;

/// That of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

#[divan::bench(args = micro::CASES.iter().map(|case| case.name), max_time = 1.0)]
fn micro(bencher: divan::Bencher, name: &str) {
    let case = micro::CASES.iter().find(|case| case.name == name).expect("a name of the list");
    bencher.counter(ItemsCount::new(case.units)).bench_local(case.prepare());
}
