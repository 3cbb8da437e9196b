import { useState } from "react";
import { createRoot } from "react-dom/client";
import { useEventStream } from "kafka-sse-gateway/react";

const { token, since } = Object.fromEntries(new URLSearchParams(location.search));

function Answer() {
  const [text, setText] = useState("");
  const { readyState, error } = useEventStream(
    "/api/v1/events",
    {
      "ai.response.chunk": ({ data }) => {
        const { text } = JSON.parse(data);
        setText((before) => before + text);
      },
      "stream.gap": () => setText("the answer has to be loaded again"),
    },
    { token: () => token, since, categories: ["ai"], silence: 2000 },
  );
  return (
    <output data-state={readyState} data-status={error?.status}>
      {text}
    </output>
  );
}

createRoot(document.getElementById("root")!).render(<Answer />);
