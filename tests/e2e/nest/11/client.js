import 'reflect-metadata';
import * as microservices from '@nestjs/microservices';
import * as rxjs from 'rxjs';
import { drive } from '../client.js';

await drive({ ...microservices, ...rxjs }, JSON.parse(process.argv[2]));
