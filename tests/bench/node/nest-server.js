// nest-server.js OPTIONS: a NestJS 12 microservice that answers { cmd: 'echo' } with its data. OPTIONS as
// those of nest-client.js.
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Transport } from '@nestjs/microservices';

class EchoController {
  echo(data) {
    return data;
  }
}
Controller()(EchoController);
MessagePattern({ cmd: 'echo' })(
  EchoController.prototype,
  'echo',
  Object.getOwnPropertyDescriptor(EchoController.prototype, 'echo'),
);

class EchoModule {}
Module({ controllers: [EchoController] })(EchoModule);

const { transport, ...options } = JSON.parse(process.argv[2]);
const app = await NestFactory.createMicroservice(EchoModule, {
  transport: Transport[transport],
  options,
  logger: ['error', 'warn'],
});
await app.listen();
console.log('ready');
