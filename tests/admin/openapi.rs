//! The document of the admin API: every route in it exists, every route that exists is in it, answers are as it says.

use std::{collections::BTreeSet, fs};

use regex::Regex;
use serde_json::{Value, json};

use super::{Operator, server};
use crate::support::Client;

/// Routes as `get /connections/{id}`, from the source.
fn routes() -> BTreeSet<String> {
    let source = fs::read_to_string("src/ops/admin/mod.rs").unwrap();
    let path = Regex::new(r#"path\("(/[^"]+)"\)"#).unwrap();
    let method = Regex::new(r"\.route\(web::(\w+)\(\)").unwrap();
    let services = source.split(".service(").filter_map(|service| Some((path.captures(service)?, service)));
    let found = services.flat_map(|(path, service)| {
        let methods = method.captures_iter(service);
        methods.map(|method| format!("{} {}", &method[1], &path[1])).collect::<Vec<_>>()
    });
    found.collect()
}

/// What is wrong with a value, by a schema.
fn judge(value: &Value, schema: &Value, document: &Value, place: &str, faults: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).expect("a schema");
        return judge(value, target, document, place, faults);
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{place}: no test knows the type {other}"),
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        kinds => kinds.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    };
    if !kinds.iter().any(|kind| is(kind)) {
        return faults.push(format!("{place} is {value}, not {kinds:?}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            faults.push(format!("{place} has no {name}"));
        }
    }
    for (name, part) in value.as_object().into_iter().flatten() {
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => faults.push(format!("{place}.{name} is not in the document")),
            (Value::Null, more) => judge(part, more, document, &format!("{place}.{name}"), faults),
            (known, _) => judge(part, known, document, &format!("{place}.{name}"), faults),
        }
    }
    for item in value.as_array().into_iter().flatten() {
        judge(item, &schema["items"], document, &format!("{place}[]"), faults);
    }
}

#[tokio::test]
async fn the_document_and_the_routes_are_one() {
    let server = server(|_| {});
    let document = Operator(&server).get("openapi.json").await;
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.strip_prefix("/admin/api").expect("below the API");
        described.extend(methods.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
    }
    assert_eq!(described, routes());
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let nothing = Operator(&server).ask("GET", "nothing").await;
    assert_eq!((nothing.status, &nothing.json()["error"]["code"]), (404, &json!(40400)));
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let server = server(|config| config.ably.local_key = true);
    let operator = Operator(&server);
    let _anna = Client::join(&server, "anna:1", "demo").await;
    let document = operator.get("openapi.json").await;
    let id = operator.get("connections").await["items"][0]["id"].as_u64().unwrap();
    let mut faults = Vec::new();
    let mut asked = BTreeSet::new();
    let bodies = [
        ("login", json!({"password": super::PASSWORD})),
        ("publish", json!({"channel": "demo", "data": "x"})),
        ("token", json!({})),
        ("room-token", json!({"user": "anna", "room": "demo"})),
        ("block", json!({"clientId": "nobody"})),
        ("logout", json!({})),
    ];
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap().iter().filter(|(method, _)| *method != "delete") {
            let target = path.replace("/admin/api/", "").replace("{id}", &id.to_string());
            let body = bodies.iter().find(|(path, _)| *path == target);
            let answer = match body {
                Some((_, body)) => operator.post(&target, body.clone()).await,
                None => operator.ask("GET", &target).await,
            };
            assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            judge(&answer.json(), schema, &document, path, &mut faults);
            asked.insert(path.clone());
            // A refusal as well.
            let refusal = crate::support::Http::connect(&server).await.ask("GET", "/admin/api/node", &[]).await;
            let schema = json!({"$ref": "#/components/schemas/Refusal"});
            judge(&refusal.json(), &schema, &document, "refusal", &mut faults);
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    assert!(asked.len() >= 13, "{asked:?}");
}

/// Whatever is asked wrongly is answered as the document says, never in another shape.
#[tokio::test]
async fn what_is_asked_wrongly_is_refused_in_the_shape_of_the_document() {
    let server = server(|_| {});
    let operator = Operator(&server);
    let document = operator.get("openapi.json").await;
    for (method, path, status, words) in [
        ("GET", "connections/abc", 400, "abc"),
        ("GET", "connections/-1", 400, "-1"),
        ("GET", "connections?limit=x", 400, "openapi.json"),
        ("GET", "channels?nothing=1", 400, "nothing"),
        ("GET", "nothing", 404, "openapi.json"),
        ("PUT", "connections/1", 405, "DELETE, GET"),
        ("POST", "node", 405, "GET"),
        ("GET", "login", 405, "POST"),
        ("GET", "publish", 405, "POST"),
    ] {
        let answer = operator.ask(method, path).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        let body = answer.json();
        let schema = json!({"$ref": "#/components/schemas/Refusal"});
        let mut faults = Vec::new();
        judge(&body, &schema, &document, path, &mut faults);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(body["error"]["code"], u64::from(status) * 100, "{method} {path}");
        assert!(body["error"]["message"].as_str().unwrap().contains(words), "{method} {path}: {body}");
        assert_eq!(answer.header("allow"), (status == 405).then_some(words), "{method} {path}");
    }
}
