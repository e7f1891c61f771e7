//! The files of the page, as they are in this binary.

use axum::Router;
use axum::http::header;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The path, content type and content of each.
const FILES: [(&str, &str, &str); 17] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/style.css", CSS, include_str!("page/style.css")),
    ("/icon.svg", SVG, include_str!("page/icon.svg")),
    ("/icon-bad.svg", SVG, include_str!("page/icon-bad.svg")),
    ("/app.js", JS, include_str!("page/app.js")),
    ("/dom.js", JS, include_str!("page/dom.js")),
    ("/net.js", JS, include_str!("page/net.js")),
    ("/headline.js", JS, include_str!("page/headline.js")),
    ("/letters.js", JS, include_str!("page/letters.js")),
    ("/now.js", JS, include_str!("page/now.js")),
    ("/plot.js", JS, include_str!("page/plot.js")),
    ("/replay.js", JS, include_str!("page/replay.js")),
    ("/send.js", JS, include_str!("page/send.js")),
    ("/sheet.js", JS, include_str!("page/sheet.js")),
    ("/user.js", JS, include_str!("page/user.js")),
    ("/words.js", JS, include_str!("page/words.js")),
    ("/yes.js", JS, include_str!("page/yes.js")),
];

/// A route for each.
pub(super) fn routes() -> Router {
    let add = |router: Router,
               (path, kind, content): (&'static str, &'static str, &'static str)| {
        router.route(
            path,
            get(async move || ([(header::CONTENT_TYPE, kind)], content)),
        )
    };
    FILES.into_iter().fold(Router::new(), add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_has_nothing_inline_and_nothing_from_elsewhere() {
        for (path, _, content) in FILES {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "style=",
                "onclick=",
                "javascript:",
            ] {
                assert!(!content.contains(forbidden), "{path} has {forbidden}");
            }
            let without_names = content.replace("http://www.w3.org/", "");
            assert!(
                !without_names.contains("http://") && !without_names.contains("https://"),
                "{path} names another site"
            );
        }
        let (_, _, page) = FILES[0];
        assert!(
            !page.contains("<style") && page.matches("<script").count() == 1,
            "styles and scripts are files"
        );
        let imports = FILES
            .iter()
            .flat_map(|(_, _, content)| content.split("from \"./").skip(1))
            .filter_map(|rest| rest.split('"').next());
        for import in imports {
            assert!(
                FILES
                    .iter()
                    .any(|(path, ..)| path.trim_start_matches('/') == import),
                "{import} is served"
            );
        }
    }
}
