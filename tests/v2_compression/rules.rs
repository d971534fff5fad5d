//! Who compresses towards whom.

use async_messenger::Config;
use async_messenger::proto::v2::{Algorithm, CompressMode, Compression};
use async_messenger::wire::EntityType;

fn options(pairs: &[&str]) -> Compression {
    let mut config = Config::default();
    config.apply(pairs).expect("these are options");
    config.compression
}

#[test]
fn behaviour_32_compression_registry() {
    let (mon, osd) = (EntityType::MON, EntityType::OSD);
    let (snappy, zlib) = (Algorithm::Snappy.number(), Algorithm::Zlib.number());
    let both = [snappy, zlib];
    let base = [
        "ms_osd_compress_mode=force",
        "ms_osd_compression_algorithm=snappy",
    ];
    let with = |more: &str| options(&[base[0], base[1], more]);
    let rules = with("ms_compress_secure=false");

    assert_eq!(rules.methods(mon), []);
    assert_eq!(rules.pick(mon, &both), None);
    assert_eq!(rules.mode(mon, false), CompressMode::None);

    assert_eq!(rules.methods(osd), [Algorithm::Snappy]);
    assert_eq!(rules.pick(osd, &both), Some(Algorithm::Snappy));
    assert_eq!(rules.pick(osd, &[zlib]), None);
    assert_eq!(rules.mode(osd, false), CompressMode::Force);
    assert_eq!(rules.mode(osd, true), CompressMode::None);

    let never = with("ms_osd_compress_mode=none");
    assert_eq!(never.mode(osd, false), CompressMode::None);
    let nothing = with("ms_osd_compression_algorithm=none");
    assert_eq!(nothing.pick(osd, &both), None);
    assert_eq!(rules.osd_min_size, 1024);
    let secure = with("ms_compress_secure=true");
    assert_eq!(secure.mode(osd, false), CompressMode::Force);
    assert_eq!(secure.mode(osd, true), CompressMode::Force);
}

#[test]
fn options_show_what_they_were_set_to() {
    let mut config = Config::default();
    for (name, default, other) in [
        ("ms_osd_compress_mode", "none", "force"),
        ("ms_osd_compression_algorithm", "snappy", "none"),
    ] {
        assert_eq!(config.get(name).as_deref(), Some(default));
        config.set(name, other).expect("an option");
        assert_eq!(config.get(name).as_deref(), Some(other));
    }
    for (name, bad) in [
        ("ms_osd_compress_mode", "passive"),
        ("ms_osd_compression_algorithm", "snappy rar"),
    ] {
        let error = config.set(name, bad).expect_err("unknown").to_string();
        assert!(error.contains(bad) && error.contains("not none"), "{error}");
    }
}

#[test]
fn the_other_side_s_order_decides_and_unknown_ones_are_passed_over() {
    let rules = options(&["ms_osd_compression_algorithm=brotli lz4 zstd"]);
    let osd = EntityType::OSD;
    assert_eq!(rules.methods(osd), [Algorithm::Lz4, Algorithm::Zstd]);
    assert_eq!(rules.pick(osd, &[0, 99, 5, 2, 3, 4]), Some(Algorithm::Zstd));
    assert_eq!(
        rules.pick(osd, &[5]),
        None,
        "it has a name and nothing else"
    );
    assert_eq!(rules.pick(osd, &[]), None);
    for other in [EntityType::MDS, EntityType::MGR, EntityType::CLIENT] {
        assert_eq!(rules.methods(other), []);
        assert_eq!(rules.mode(other, false), CompressMode::None);
    }
    assert_eq!(Algorithm::from_number(0), None);
    assert_eq!(Algorithm::from_number(6), None);
}
