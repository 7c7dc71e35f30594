"use strict";
SwaggerUIBundle({
  spec: JSON.parse(document.getElementById("openapi").textContent),
  dom_id: "#reference",
  // The page is sandboxed, so it can't send requests.
  supportedSubmitMethods: [],
  validatorUrl: null,
  docExpansion: "list",
});
