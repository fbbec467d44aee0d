"""Right calls of the endpoint in `handmade.inference`."""

from handmade.inference import serve
from serve_helpers import byte_tokenizer, service, tiny_llama

from valid_calls import call


def engine():
    return service().worker.engine


def saved(folder):
    """Return a folder with a model and a tokenizer, as serving wants it."""
    tiny_llama().to_hf().save_pretrained(folder)
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    return str(folder)


def entered(context):
    with context:
        pass


def closed(server):
    server.socket.close()


CALLS = {
    "inference.serve.Server": lambda: call(
        service=service(), host="127.0.0.1", port=0, then=closed
    ),
    "inference.serve.checkpoint": lambda folder: call(model=saved(folder)),
    "inference.serve.running": lambda: call(
        service=service(), port=0, then=entered
    ),
    "inference.serve.serve_checkpoint": lambda folder: call(
        found=serve.checkpoint(saved(folder)),
        name="mine",
        n_pages=4,
        page_size=4,
        max_batch=2,
        max_waiting=2,
    ),
    "inference.serve_app.app": lambda: call(
        service=service(), hosts=["localhost"]
    ),
    "inference.serve_service.Service": lambda: call(
        name="tiny",
        engine=engine(),
        tokenizer=byte_tokenizer(),
        eos_ids=[1, 2],
        chat=lambda messages: "x",
        special=["<end>"],
        max_body=100,
    ),
    "inference.serve_worker.Worker": lambda: call(engine=engine()),
}
