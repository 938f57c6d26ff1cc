//! Makes the lookup tables from `../data/*.csv`: sorted into hash slots, the JSON that each row
//! contributes to an event already rendered. The guest parses nothing when it starts.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/hash.rs"]
mod hash;

/// IANA zones of the airport table: name, constant, standard offset from UTC in minutes, and
/// whether the daylight saving rule of the United States applies.
const ZONES: [(&str, i32, bool); 9] = [
    ("America/Anchorage", -540, true),
    ("America/Chicago", -360, true),
    ("America/Denver", -420, true),
    ("America/Los_Angeles", -480, true),
    ("America/New_York", -300, true),
    ("America/Phoenix", -420, false),
    ("America/Puerto_Rico", -240, false),
    ("America/Vancouver", -480, true),
    ("Pacific/Honolulu", -600, false),
];

/// Zones that are links to others in the IANA database.
const ZONE_LINKS: [(&str, &str); 1] = [("America/St_Thomas", "America/Puerto_Rico")];

/// As in `src/line.rs`, where the texts are copied block by block.
const BLOCK_BYTES: usize = 32;

type Row = HashMap<String, String>;

fn main() {
    let data =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../data");
    let mut code = String::new();
    zones(&mut code);
    courses(&mut code);
    airlines(&mut code, &read(&data.join("airlines.csv")));
    let mut rows = read(&data.join("airports.csv"));
    rows.extend(read(&data.join("airports-supplement.csv")));
    airports(&mut code, &rows);
    aircraft(&mut code, &read(&data.join("planes.csv")));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("tables.rs");
    fs::write(&out, code).expect("the output folder is writable");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/hash.rs");
}

fn zones(code: &mut String) {
    let rules = ZONES.map(|(_, standard_offset_min, daylight_saving)| {
        format!(
            "Zone {{ standard_offset_min: {standard_offset_min}, daylight_saving: {daylight_saving} }}"
        )
    });
    emit(code, "ZONES", "Zone", &rules);
}

/// What is said of a flight's course: the constant's name, the status, the class of delay.
const COURSES: [(&str, &str, &str); 7] = [
    ("CANCELLED", "cancelled", "cancelled"),
    ("DIVERTED", "diverted", "diverted"),
    ("EARLY", "completed", "early"),
    ("ON_TIME", "completed", "on_time"),
    ("MINOR", "completed", "minor"),
    ("MODERATE", "completed", "moderate"),
    ("SEVERE", "completed", "severe"),
];

fn courses(code: &mut String) {
    for (name, status, class) in COURSES {
        let json = format!(",\"status\":{},\"delay_class\":{}", text(status), text(class));
        writeln!(code, "pub(crate) static {name}: Padded = {};", padded(&json)).expect("a string");
    }
}

fn airlines(code: &mut String, rows: &[Row]) {
    let mut airlines = vec!["None".to_owned(); hash::AIRLINE_SLOTS];
    for row in rows {
        let carrier = &row["carrier"];
        let slot = hash::airline_slot(carrier.as_bytes()).expect("a carrier has two characters");
        let json = format!("\"carrier\":{},\"airline\":{}", text(carrier), text(&row["name"]));
        airlines[slot] = format!("Some({})", padded(&json));
    }
    emit(code, "AIRLINES", "Option<Padded>", &airlines);
}

fn airports(code: &mut String, rows: &[Row]) {
    // Later rows replace earlier ones: that is how the supplement corrects the table.
    let by_code: BTreeMap<&str, &Row> = rows.iter().map(|row| (row["faa"].as_str(), row)).collect();
    let mut keys = vec![0_u32; hash::AIRPORT_SLOTS];
    let mut slots = vec![0_u16; hash::AIRPORT_SLOTS];
    let mut airports = Vec::new();
    for (index, (faa, row)) in by_code.into_iter().enumerate() {
        let key =
            hash::airport_key(faa.as_bytes()).expect("an airport's code has three characters");
        let mut slot = hash::airport_slot(key);
        while keys[slot] != 0 {
            slot = (slot + 1) % hash::AIRPORT_SLOTS;
        }
        keys[slot] = key;
        slots[slot] = u16::try_from(index).expect("a few thousand airports");
        let name = row["tzone"].as_str();
        let zone = ZONE_LINKS.iter().find(|(link, _)| *link == name).map_or(name, |(_, zone)| zone);
        let zone = ZONES
            .iter()
            .position(|(known, ..)| *known == zone)
            .unwrap_or_else(|| panic!("{faa} has the unknown zone {name}"));
        let json = format!(
            "{{\"code\":{},\"name\":{},\"zone\":{}}}",
            text(faa),
            text(&row["name"]),
            text(name)
        );
        airports.push(format!(
            "Airport {{ latitude: {}, longitude: {}, zone: {zone}, json: {} }}",
            float(&row["lat"]),
            float(&row["lon"]),
            padded(&json),
        ));
    }
    emit(code, "AIRPORT_KEYS", "u32", &keys);
    emit(code, "AIRPORT_INDEXES", "u16", &slots);
    emit(code, "AIRPORTS", "Airport", &airports);
}

fn aircraft(code: &mut String, rows: &[Row]) {
    let mut keys = vec![0_u64; hash::AIRCRAFT_SLOTS];
    let mut slots = vec![0_u16; hash::AIRCRAFT_SLOTS];
    let mut kinds: Vec<String> = Vec::new();
    for row in rows {
        let key = hash::tail_key(row["tailnum"].as_bytes()).expect("a tail number is short");
        let mut slot = hash::aircraft_slot(key);
        while keys[slot] != 0 {
            slot = (slot + 1) % hash::AIRCRAFT_SLOTS;
        }
        let json = format!(
            ",\"year\":{},\"type\":{},\"manufacturer\":{},\"model\":{},\"engines\":{},\"engine\":{},\"seats\":{}}}",
            number(&row["year"]),
            text(&row["type"]),
            text(&row["manufacturer"]),
            text(&row["model"]),
            number(&row["engines"]),
            text(&row["engine"]),
            number(&row["seats"]),
        );
        let kind = padded(&json);
        let index = kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            kinds.push(kind);
            kinds.len() - 1
        });
        keys[slot] = key;
        slots[slot] = u16::try_from(index).expect("fewer kinds than aircraft");
    }
    emit(code, "AIRCRAFT_KEYS", "u64", &keys);
    emit(code, "AIRCRAFT_INDEXES", "u16", &slots);
    emit(code, "AIRCRAFT", "Padded", &kinds);
}

fn emit<T: std::fmt::Display>(code: &mut String, name: &str, kind: &str, values: &[T]) {
    writeln!(code, "pub(crate) static {name}: [{kind}; {}] = [", values.len()).expect("a string");
    for value in values {
        writeln!(code, "    {value},").expect("a string");
    }
    code.push_str("];\n");
}

/// A text cut into blocks, the last one filled up with spaces.
fn padded(text: &str) -> String {
    let blocks: Vec<String> = text
        .as_bytes()
        .chunks(BLOCK_BYTES)
        .map(|block| {
            let block = std::str::from_utf8(block).expect("the tables are ASCII");
            format!("*b{:?}", format!("{block:BLOCK_BYTES$}"))
        })
        .collect();
    format!("Padded {{ blocks: &[{}], length: {} }}", blocks.join(", "), text.len())
}

/// Reads a CSV file without quoting, which these files do not use.
fn read(path: &Path) -> Vec<Row> {
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
    let header: Vec<String> = lines.next().expect("a header").collect();
    lines
        .map(|fields| {
            let fields: Vec<String> = fields.collect();
            assert_eq!(fields.len(), header.len(), "{}: {fields:?}", path.display());
            header.iter().cloned().zip(fields).collect()
        })
        .collect()
}

/// A JSON string, or null for `NA`. The source escapes some apostrophes with backslashes; they go.
fn text(field: &str) -> String {
    let field = field.replace('\\', "");
    assert!(field.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"'), "{field}");
    if field == "NA" { "null".to_owned() } else { format!("\"{field}\"") }
}

/// A JSON integer, or null for `NA`.
fn number(field: &str) -> String {
    if field == "NA" {
        "null".to_owned()
    } else {
        field.parse::<u32>().expect("digits").to_string()
    }
}

/// A Rust literal of a decimal number.
fn float(field: &str) -> String {
    let value: f64 = field.parse().expect("a decimal number");
    format!("{value:?}")
}
